"""``kroute confirm``: keep the configuration that is on trial."""

from __future__ import annotations

import argparse

from kroute.cli.apply import end
from kroute.cli.client import DEFAULT_SOCKET


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("confirm", help="keep the configuration that is on trial")
    parser.add_argument("--socket", default=DEFAULT_SOCKET, help="the daemon's local socket")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Confirm; exit code 1 where nothing is on trial."""
    return end(args.socket, "confirm")
