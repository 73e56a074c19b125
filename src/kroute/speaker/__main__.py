"""``python -m kroute.speaker FD PARENT USER``: started by the daemon's speaker driver, by nobody else."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys

import exabgp.environment.setup  # noqa: F401  ExaBGP loads it later, when nobody may not read it (a clone in /root)
from exabgp.version import version

from kroute.speaker.hooks import install
from kroute.speaker.privileges import die_with, drop, hurry
from kroute.speaker.reactor import Reactor


def main(arguments: list[str]) -> int:
    """Run on the socket that is descriptor FD until the daemon ends us or itself."""
    descriptor, parent, user = int(arguments[0]), int(arguments[1]), arguments[2]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_IGN
        )  # sent to the daemon's whole group; the daemon says when to end
    hurry()
    privileges = drop(user)
    if not die_with(parent):
        return 1
    reactor = Reactor(socket.socket(fileno=descriptor))
    install(lambda text: reactor.log(logging.ERROR, text))
    gc.collect()
    gc.freeze()
    reactor.run(version, os.getpid(), privileges)
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # nothing is left to tidy up, and the daemon waits for our end
