"""``kroute cleanup``: remove from this node all that bears kroute's mark, and print it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kroute.cli import OK, USAGE
from kroute.model.errors import DriverError

if TYPE_CHECKING:
    from kroute.model.config import Config


DEFAULT_FILE = "/etc/kroute/kroute.yaml"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "cleanup", help="remove all that bears kroute's mark, and print it"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"the daemon's configuration ({DEFAULT_FILE}; all defaults where that is not there)",
    )
    parser.add_argument("--force", action="store_true", help="also while the daemon runs")
    parser.add_argument(
        "--kube-router",
        action="store_true",
        help="show what kube-router left on this node instead; with --yes remove it",
    )
    parser.add_argument(
        "--yes", action="store_true", help="with --kube-router: remove, not only show"
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Remove KNI's pods, routes, conflist, leases, bridge and state; what bears another mark is not touched."""
    from kroute.daemon import cleanup

    config = _config(args.config)
    if args.kube_router:
        return _kube_router(config, remove=args.yes)
    socket = Path(config.paths.run) / "kroute.sock"
    if socket.exists() and not args.force and _answers(str(socket)):
        print(
            "kroute cleanup: the daemon is running and would put everything back; stop it first",
            file=sys.stderr,
        )
        return USAGE
    removed, failed = cleanup.clean(config)
    for line in removed:
        print(line)
    print(f"{len(removed)} things removed")
    for line in failed:
        print(f"kroute cleanup: {line}", file=sys.stderr)
    if failed:
        raise DriverError(f"{len(failed)} things could not be removed")
    return OK


def _config(named: str | None) -> Config:
    """What the daemon ran with. Only a file that nobody named may be gone already.

    Raises:
        ConfigError: it cannot be read, or is wrong.
    """
    from kroute.drivers.config_file import ConfigFile
    from kroute.model.config import Config

    if named is None and not Path(DEFAULT_FILE).exists():
        return Config()
    return ConfigFile(named or DEFAULT_FILE).load()


def _kube_router(config: Config, *, remove: bool) -> int:
    """Show what kube-router left, or remove it; what kroute took over by configuration is not among it."""
    from kroute.daemon.cleanup import remove_kube_router
    from kroute.drivers.kube_router import leftovers

    found = leftovers(config.cni.directory, keep_bridge=config.cni.bridge)
    for thing in found:
        print(thing)
    if not remove:
        print(f"{len(found)} things of kube-router; stop it and add --yes to remove them")
        return OK
    failed = remove_kube_router(found)
    print(f"{len(found) - len(failed)} things removed")
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
