"""The command line: ``kroute run | show | why | plan | apply | confirm | check-config | cleanup | lab | kni``.

Exit codes: 0 ok, 1 the answer is "no", 2 usage, 3 the daemon cannot be reached. Each command is a module with
``add_parser`` and ``run``; its imports happen when it runs, so that every command starts fast.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from kroute import __version__
from kroute.model.errors import KrouteError

COMMANDS = (
    "run",
    "show",
    "why",
    "plan",
    "apply",
    "confirm",
    "check_config",
    "cleanup",
    "lab",
    "kni",
)

OK, NO, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What the place may lack that standard output is redirected to."""


class UsageError(KrouteError):
    """Arguments that cannot be meant; the text says what was expected."""


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of some commands; all of them for help."""
    parser = argparse.ArgumentParser(
        prog="kroute", description="BGP route-exchange network manager of a Kubernetes node."
    )
    parser.add_argument("--version", action="version", version=f"kroute {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in commands:
        import_module(f"kroute.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    wanted = arguments[0].replace("-", "_") if arguments else ""
    code = OK
    try:
        try:
            parser = build_parser((wanted,) if wanted in COMMANDS else COMMANDS)
            code = _perform(parser.parse_args(arguments))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough.
        _write_no_more()
    except OSError as error:
        if error.errno not in UNWRITABLE or error.filename is not None:
            raise
        _write_no_more()
        print(f"kroute {arguments[0]}: the output: {error.strerror}", file=sys.stderr)
        code = NO
    return code


def _perform(args: argparse.Namespace) -> int:
    try:
        return int(args.handler(args))
    except KrouteError as error:
        print(f"kroute {args.command}: {error}", file=sys.stderr)
        return USAGE if isinstance(error, UsageError) else NO


def _write_no_more() -> None:
    """Let what is still buffered go nowhere: Python would try to write it once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
