"""``kroute show``: look at the running daemon."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from kroute.cli import NO, OK, UNREACHABLE, USAGE
from kroute.cli.client import DEFAULT_SOCKET, Unreachable, ask
from kroute.codec.show import as_json, as_yaml, duration, table
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
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("show", help="look at the running daemon")
    parser.add_argument("what", choices=WHAT)
    parser.add_argument(
        "name", nargs="?", default="", help="peer: its name, such as tor1 or node/n2"
    )
    parser.add_argument(
        "--rejected", action="store_true", help="routes: the paths not used, and why"
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
    if (args.what == "peer") != bool(args.name):
        print("kroute show: `show peer NAME` needs a name, and nothing else does", file=sys.stderr)
        return USAGE
    rejected = args.what == "routes" and args.rejected
    asked = {"rejected": rejected, "all": args.what == "services" and args.all}
    query = {key: "1" for key, wanted in asked.items() if wanted}
    if args.name:
        query["name"] = args.name
    try:
        answer = ask(args.socket, args.what, **query)
    except Unreachable as error:
        print(f"kroute show: {error}", file=sys.stderr)
        return UNREACHABLE
    if args.what == "peer" and "known" in answer:
        known = ", ".join(answer["known"]) or "none"
        print(f"kroute show: no peer {args.name} (there are: {known})", file=sys.stderr)
        return NO
    if args.what == "config" and args.output != "json":
        _mark_trial(args.socket)
    print(render("rejected" if rejected else args.what, answer, args.output), end="")
    return OK


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
