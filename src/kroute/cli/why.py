"""``kroute why PREFIX|ADDRESS``: the whole story of a route, or the step where it broke."""

from __future__ import annotations

import argparse
import sys
from ipaddress import ip_network

from kroute.cli import NO, OK, UNREACHABLE, USAGE
from kroute.cli.client import Unreachable, ask
from kroute.cli.show import add_output
from kroute.codec.show import as_json, as_yaml


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("why", help="why a route is or is not there")
    parser.add_argument("target", metavar="PREFIX|ADDRESS")
    add_output(parser)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Ask and tell; exit code 1 where there is no route."""
    try:
        ip_network(args.target, strict=False)
    except ValueError as error:
        print(f"kroute why: {error}", file=sys.stderr)
        return USAGE
    try:
        answer = ask(args.socket, "why", target=args.target)
    except Unreachable as error:
        print(f"kroute why: {error}", file=sys.stderr)
        return UNREACHABLE
    if args.output == "table":
        lines = [f"{answer['prefix']}: {'routed' if answer['routed'] else 'NOT routed'}"]
        print("\n".join(lines + [f"  {step}" for step in answer["story"]]))
    else:
        print((as_json if args.output == "json" else as_yaml)(answer), end="")
    return OK if answer["routed"] else NO
