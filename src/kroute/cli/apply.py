"""``kroute apply FILE --confirm 5m``: put a configuration in force on trial. The daemon returns from it by itself."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from kroute.cli import NO, OK, UNREACHABLE, USAGE
from kroute.cli.client import DEFAULT_SOCKET, Unreachable, act
from kroute.codec.show import duration
from kroute.codec.trial import Wish, write_wish
from kroute.model.errors import KrouteError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "apply",
        help="put a configuration in force, to return unless confirmed",
        description="Put a configuration in force on trial. The daemon returns to the one before when it is not "
        "confirmed in time, or when sessions or routes fall below a share. The watched file changes only by "
        "`kroute confirm`.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", metavar="FILE", help="the new configuration")
    what.add_argument("--confirmed", action="store_true", help="keep it, as `kroute confirm`")
    what.add_argument("--rollback", action="store_true", help="return to the one before, now")
    parser.add_argument(
        "--confirm", type=seconds, default=300.0, metavar="5m", help="time to confirm (5m)"
    )
    parser.add_argument(
        "--min-sessions", type=share, default=0.8, metavar="80%", help="return below this (80%%)"
    )
    parser.add_argument(
        "--min-routes", type=share, default=0.8, metavar="80%", help="return below this (80%%)"
    )
    parser.add_argument(
        "--grace", type=seconds, metavar="15s", help="time that sessions may take (15s)"
    )
    parser.add_argument("--socket", default=DEFAULT_SOCKET, help="the daemon's local socket")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Begin or end a trial; exit code 1 where the daemon refuses."""
    if args.confirmed or args.rollback:
        return end(args.socket, "confirm" if args.confirmed else "rollback")
    try:
        text = Path(args.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        print(f"kroute apply: {args.file}: {error}", file=sys.stderr)
        return USAGE
    grace = min(15.0, args.confirm) if args.grace is None else args.grace
    wish = Wish(
        text=text,
        source=str(Path(args.file).absolute()),
        confirm=args.confirm,
        min_sessions=args.min_sessions,
        min_routes=args.min_routes,
        grace=grace,
    )
    try:
        trial = act(args.socket, "apply", write_wish(wish))
    except Unreachable as error:
        print(f"kroute apply: {error}", file=sys.stderr)
        return UNREACHABLE
    except KrouteError as error:
        print(f"kroute apply: nothing has changed:\n{error}", file=sys.stderr)
        return NO
    print(f"on trial: the configuration before returns in {duration(trial['remaining'])},")
    least = f"below {args.min_sessions:.0%} of {trial['sessionsExpected']} sessions"
    print(f"or {least} or {args.min_routes:.0%} of {trial['routesBefore']} routed prefixes.")
    print("keep it:  kroute confirm\nreturn:   kroute apply --rollback")
    return OK


def end(socket: str, what: str) -> int:
    """Confirm or roll back; exit code 1 where there is nothing to."""
    try:
        found = act(socket, what)
    except Unreachable as error:
        print(f"kroute {what}: {error}", file=sys.stderr)
        return UNREACHABLE
    except KrouteError as error:
        print(f"kroute {what}: {error}", file=sys.stderr)
        return NO
    if what == "confirm":
        print(f"confirmed; the configuration before is kept in {found['kept']}")
    else:
        print("the configuration before is in force")
    return OK


def seconds(text: str) -> float:
    """``90``, ``90s``, ``5m``, ``2h`` or ``1d`` as seconds.

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s or 5m, got {text!r}")
    return float(found[1]) * UNITS[found[2]]


def share(text: str) -> float:
    """``80%`` as 0.8.

    Raises:
        argparse.ArgumentTypeError: it is no share from 0% to 100%.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%?", text)
    if found is None or float(found[1]) > 100:
        raise argparse.ArgumentTypeError(f"expected a share such as 80%, got {text!r}")
    return float(found[1]) / 100
