"""The API double as a program, as labs run it: it serves a file's objects and follows the file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.model.config import KubernetesInventory
from support import fakekube
from support.inventory import following, kubeconfig, node_object


def write(path: Path, *numbers: int) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"kind": "List", "items": [node_object(n) for n in numbers]}))
    new.replace(path)


@contextmanager
def program(*arguments: str) -> Iterator[str]:
    """The double at work; where it serves."""
    command = [sys.executable, fakekube.__file__, "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


async def test_it_serves_the_objects_of_a_file_and_follows_it(tmp_path: Path):
    objects = tmp_path / "objects.json"
    write(objects, 1, 2)
    with program("--objects", str(objects), "--follow") as url:
        config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", url))
        async with following(KubernetesInventoryDriver(config)) as told:
            await told.until(lambda t: t.names() == ["n1", "n2"])
            write(objects, 2, 3)
            await told.until(lambda t: t.names() == ["n2", "n3"])
            objects.write_text("items: [")
            write(objects, 3)
            await told.until(lambda t: t.names() == ["n3"])
            assert told.lists == 1


async def test_it_serves_over_ipv6(tmp_path: Path):
    with program("--bind", "::1") as url:
        config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", url))
        async with following(KubernetesInventoryDriver(config)) as told:
            await told.until(lambda t: t.lists == 1)
