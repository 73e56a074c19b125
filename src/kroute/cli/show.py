"""``kroute show``: look at the running daemon."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from kroute.cli import NO, OK, UNREACHABLE, USAGE
from kroute.cli.client import DEFAULT_SOCKET, Unreachable, ask
from kroute.codec.show import MOST_ROWS, as_json, as_yaml, duration, table
from kroute.codec.show_peer import page

WHAT = (
    "peers",
    "peer",
    "routes",
    "nodes",
    "fib",
    "config",
    "problems",
    "status",
    "pods",
    "services",
    "rib",
)


OPTIONS = {
    "rejected": ("routes", "rib"),
    "limit": ("rib",),
    "after": ("rib",),
    "effective": ("config",),
    "all": ("services",),
}
"""Options that only some questions take."""

DEFAULT_LIMIT = 1000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("show", help="look at the running daemon")
    parser.add_argument("what", choices=WHAT)
    parser.add_argument(
        "of",
        nargs="*",
        default=[],  # without one, argparse calls for it where only the thing is missing
        metavar="NAME",
        help="peer NAME: its name, such as tor1 or node/n2; rib in|out NAME: what it has told, or is told",
    )
    parser.add_argument(
        "--rejected", action="store_true", help="routes, rib: the paths not used or told, and why"
    )
    parser.add_argument("--limit", type=_limit, help="rib: so many prefixes at most (1000)")
    parser.add_argument("--after", metavar="PREFIX", help="rib: only prefixes behind this one")
    parser.add_argument(
        "--effective", action="store_true", help="config: also the defaults that apply to each peer"
    )
    parser.add_argument(
        "--all", action="store_true", help="services: also addresses that nobody asked to announce"
    )
    add_output(parser)
    parser.set_defaults(handler=run)


def add_output(parser: argparse.ArgumentParser) -> None:
    """The options that all questions to the daemon share."""
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table")
    parser.add_argument("--socket", default=DEFAULT_SOCKET, help="the daemon's local socket")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    if refused := _idle(args):
        print(f"kroute show: {refused}", file=sys.stderr)
        return USAGE
    question = _question(args)
    if question is None:
        usage = "`show peer NAME` and `show rib in|out NAME` need a name, and nothing else does"
        print(f"kroute show: {usage}", file=sys.stderr)
        return USAGE
    resource, view, query = question
    try:
        answer = ask(args.socket, resource, **query)
    except Unreachable as error:
        print(f"kroute show: {error}", file=sys.stderr)
        return UNREACHABLE
    if args.what == "peer" and "known" in answer:
        known = ", ".join(answer["known"]) or "none"
        print(f"kroute show: no peer {args.of[0]} (there are: {known})", file=sys.stderr)
        for why in answer.get("why", ()):  # an earlier daemon does not say
            print(f"kroute show: {args.of[0]}: {why}", file=sys.stderr)
        return NO
    if args.what == "config" and args.output != "json":
        _mark_trial(args.socket)
    print(render(view, answer, args.output), end="")
    if view == "rib" and len(answer) == int(query["limit"]):
        more = f"there may be more: --after {answer[-1]['prefix']}, or a greater --limit"
        print(f"kroute show: {more}", file=sys.stderr)
    return OK


def _idle(args: argparse.Namespace) -> str:
    """What is wrong with an option that would do nothing here; empty where each does something."""
    for name, whose in OPTIONS.items():
        if getattr(args, name) and args.what not in whose:
            return f"--{name} is for {' and '.join(whose)}"
    return ""


def _limit(word: str) -> int:
    """Raises: argparse.ArgumentTypeError: no number of entries that one answer can have."""
    if not (word.isdecimal() and 1 <= int(word) <= MOST_ROWS):
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MOST_ROWS}, got {word!r}")
    return int(word)


def _question(args: argparse.Namespace) -> tuple[str, str, dict[str, str]] | None:
    """What to ask for, the table that shows it, and the details; None where the arguments do not fit."""
    query = {name: "1" for name in ("rejected", "all", "effective") if getattr(args, name)}
    match args.what, args.of:
        case "rib", [("in" | "out") as way, peer]:
            after = {"after": args.after} if args.after else {}
            limit = str(args.limit or DEFAULT_LIMIT)
            return f"rib-{way}", "rib", {**query, **after, "peer": peer, "limit": limit}
        case "peer", [name]:
            return "peer", "peer", {"name": name}
        case what, [] if what not in ("rib", "peer"):
            return what, "rejected" if "rejected" in query else what, query
    return None


def _mark_trial(path: str) -> None:
    """Say above a configuration that it is on trial; a YAML comment, so that the rest stays a file."""
    trial = ask(path, "trial")
    if trial:
        left = duration(trial["remaining"])
        print(f"# on trial: the configuration before returns in {left} unless `kroute confirm`")


def render(view: str, answer: Any, output: str) -> str:
    """The answer in the form asked for; what is no list has no table and is shown as YAML."""
    if output == "json":
        return as_json(answer)
    if output == "table" and view == "peer":
        return page(answer)
    if output == "yaml" or not isinstance(answer, list):
        return as_yaml(answer)
    return table(view, answer)
