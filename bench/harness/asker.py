"""Questions to a KNI server from a process that does nothing else: it waits for no thread of the other clients.

Run as a program with the server's socket and a pod's id it asks every 5 ms, as a kubelet's status loop does at its
busiest, until its standard input ends; then it prints how long each question took, in seconds, as JSON.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kroute.drivers.kni.client import KniClient
from kroute.model.kni import Generation

_PAUSE = 0.005


@contextmanager
def asking(socket: Path, pod: str, queries: list[float]) -> Iterator[None]:
    """Questions are asked inside the block; what each took, in seconds, is added to ``queries`` at its end."""
    asker = subprocess.Popen(
        [sys.executable, __file__, str(socket), pod], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert asker.stdout is not None
    asker.stdout.readline()  # it is connected
    try:
        yield
    finally:
        queries += json.loads(asker.communicate()[0])


def ask(socket: str, pod: str) -> None:
    """Be the asking process."""
    queries: list[float] = []
    with KniClient(socket, Generation.V008) as client:
        client.nodes()
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], _PAUSE)[0]:
            for question in (lambda: client.query(pod), client.nodes):
                began = time.perf_counter()
                question()
                queries.append(time.perf_counter() - began)
    print(json.dumps(queries))


if __name__ == "__main__":
    ask(*sys.argv[1:])
