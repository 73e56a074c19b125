"""``kroute run``: the daemon."""

from __future__ import annotations

import argparse
import logging
import sys

from kroute.cli import OK


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("run", help="run the daemon")
    parser.add_argument("--config", default="/etc/kroute/kroute.yaml", metavar="FILE")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM. A configuration that is wrong at start is refused; later ones leave the old in force."""
    import asyncio

    from kroute.daemon import Daemon
    from kroute.drivers.config_file import ConfigFile

    file = ConfigFile(args.config)
    config = file.load()
    logging.basicConfig(
        level=config.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )

    async def live() -> None:
        await Daemon(config, file).run()

    asyncio.run(live())
    return OK
