"""``kroute cleanup``: remove from this node all that bears kroute's mark, and print it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kroute.cli import OK, USAGE
from kroute.model.errors import DriverError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "cleanup", help="remove all that bears kroute's mark, and print it"
    )
    parser.add_argument("--config", default="/etc/kroute/kroute.yaml", metavar="FILE")
    parser.add_argument("--force", action="store_true", help="also while the daemon runs")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Remove routes, conflist, leases, bridge and state; what bears another mark is not touched."""
    from kroute.codec.config import parse_config
    from kroute.daemon.cleanup import clean

    path = Path(args.config)
    config = parse_config(path.read_text() if path.exists() else "", source=str(path))
    socket = Path(config.paths.run) / "kroute.sock"
    if socket.exists() and not args.force and _answers(str(socket)):
        print(
            "kroute cleanup: the daemon is running and would put everything back; stop it first",
            file=sys.stderr,
        )
        return USAGE
    removed, failed = clean(config)
    for line in removed:
        print(line)
    print(f"{len(removed)} things removed")
    for line in failed:
        print(f"kroute cleanup: {line}", file=sys.stderr)
    if failed:
        raise DriverError(f"{len(failed)} things could not be removed")
    return OK


def _answers(socket: str) -> bool:
    from kroute.cli.client import Unreachable, ask

    try:
        ask(socket, "status")
    except Unreachable:
        return False
    return True
