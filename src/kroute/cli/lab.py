"""``kroute lab``: labs on network namespaces or containerlab."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

OK, NO, USAGE, INTERRUPTED = 0, 1, 2, 130

_LAB = "a lab's folder, its *.clab.yml, or the name of a running lab"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``lab`` and its commands to the command line."""
    parser = subparsers.add_parser(
        "lab",
        help="run containerlab topologies on network namespaces",
        description="Runs a containerlab topology on network namespaces (no Docker) or on containerlab itself.",
    )
    parser.set_defaults(handler=run)
    commands = parser.add_subparsers(dest="lab_command", metavar="COMMAND", required=True)
    for name, text in (
        ("up", "start a lab"),
        ("down", "remove all that is left of a lab; also after a crash"),
        ("check", "perform the checks of a lab that is up"),
        ("run", "start a lab, perform its checks, remove it"),
        ("inspect", "the nodes of a lab that is up"),
        ("graph", "draw the topology"),
    ):
        _lab_parser(commands, name, text)
    commands.choices["up"].add_argument(
        "--check", action="store_true", help="perform the checks as well"
    )
    for name in ("check", "run", "up"):
        commands.choices[name].add_argument(
            "-v", "--verbose", action="store_true", help="show what was seen"
        )
    commands.choices["graph"].add_argument(
        "--mermaid", action="store_true", help="as a Mermaid diagram"
    )
    commands.choices["inspect"].add_argument(
        "-o", "--output", choices=("table", "json"), default="table"
    )
    listing = commands.add_parser("list", help="all labs that are up")
    listing.add_argument("-o", "--output", choices=("table", "json"), default="table")
    _node_parsers(commands)
    demo = commands.add_parser(
        "demo", help="a guided tour: a cluster forms, a daemon dies, nothing is lost"
    )
    demo.add_argument("lab", nargs="?", default="labs/full-mesh", help=_LAB)
    demo.set_defaults(backend="netns")


def _lab_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    """A command about one lab."""
    parser = commands.add_parser(name, help=text)
    _lab_arguments(parser)
    return parser


def _lab_arguments(parser: argparse.ArgumentParser) -> None:
    """Which lab, on which back-end."""
    parser.add_argument("lab", help=_LAB)
    parser.add_argument(
        "--backend",
        choices=("auto", "netns", "clab"),
        default="auto",
        help="netns: network namespaces; clab: containerlab; auto: clab where it answers, else netns",
    )


def _node_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands about one node."""
    execute = _lab_parser(commands, "exec", "run a command in a node")
    execute.add_argument("node")
    execute.add_argument(
        "argv", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="a shell unless given"
    )
    logs = _lab_parser(commands, "logs", "what a node's main process has written")
    logs.add_argument("node")
    pod = commands.add_parser(
        "pod", help="add, delete, list or enter pods, with the real CNI plugins"
    )
    pod.add_argument("action", choices=("add", "del", "list", "exec"))
    _lab_arguments(pod)
    pod.add_argument("node")
    pod.add_argument("pod", nargs="?", default="")
    pod.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")


def run(args: argparse.Namespace) -> int:
    """Performs one ``kroute lab`` command; returns the exit code: 0 yes, 1 no, 2 usage, 130 interrupted."""
    from kroute.lab.errors import CheckFailed, LabError

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _COMMANDS[args.lab_command](args)
    except CheckFailed:
        return NO
    except LabError as error:
        for message in error.messages:
            print(f"kroute lab: {message}", file=sys.stderr)
        return NO
    except KeyboardInterrupt:
        print("kroute lab: interrupted", file=sys.stderr)
        return INTERRUPTED


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends as Ctrl-C does: what was begun is cleaned up."""
    raise KeyboardInterrupt


def _open(args: argparse.Namespace) -> Any:
    """The lab that the arguments mean."""
    from kroute.lab.labs import open_lab

    return open_lab(args.lab, args.backend)


def _progress() -> Any:
    """Progress on standard output."""
    from kroute.lab.progress import Progress

    return Progress()


def _up(args: argparse.Namespace) -> int:
    """Starts a lab, checks it if asked to, says what to type next."""
    lab, progress = _open(args), _progress()
    progress.line(f"lab {lab.name} ({lab.backend.name})", "head")
    lab.backend.up(progress)
    status = _checks(lab, progress, args) if args.check else OK
    progress.line(f"  next: kroute lab check|inspect|exec|down {lab.name}")
    return status


def _down(args: argparse.Namespace) -> int:
    """Removes a lab. A name that no lab bears is a lab that is down already."""
    from pathlib import Path

    from kroute.lab.labs import named, open_lab

    known = "/" in args.lab or Path(args.lab).exists()
    backend = open_lab(args.lab, args.backend).backend if known else named(args.lab).backend
    backend.down(_progress())
    return OK


def _checks(lab: Any, progress: Any, args: argparse.Namespace) -> int:
    """Performs a lab's checks."""
    from kroute.lab import checks
    from kroute.lab.runner import Runner

    plan = checks.load(lab.checks)
    runner = Runner(lab.backend, lab.topology, progress, verbose=args.verbose)
    return OK if runner.perform(plan) else NO


def _check(args: argparse.Namespace) -> int:
    """Performs the checks of a lab that is up."""
    lab, progress = _open(args), _progress()
    progress.line(f"lab {lab.name} ({lab.backend.name}): {lab.checks.name}", "head")
    return _checks(lab, progress, args)


def _run(args: argparse.Namespace) -> int:
    """Starts a lab, checks it, removes it, whatever happens in between."""
    lab, progress = _open(args), _progress()
    progress.line(f"lab {lab.name} ({lab.backend.name})", "head")
    lab.backend.up(progress)
    try:
        return _checks(lab, progress, args)
    finally:
        lab.backend.down(progress)


def _exec(args: argparse.Namespace) -> int:
    """Runs a command, or a shell, in a node."""
    return int(_open(args).backend.attach(args.node, _argv(args.argv) or ["bash"]))


def _argv(words: list[str]) -> list[str]:
    """The command behind the first ``--``."""
    return words[1:] if words[:1] == ["--"] else words


def _logs(args: argparse.Namespace) -> int:
    """Prints a node's log."""
    print(_open(args).backend.log(args.node), end="")
    return OK


def _inspect(args: argparse.Namespace) -> int:
    """The nodes of a lab."""
    from dataclasses import asdict

    nodes = _open(args).backend.inspect()
    if args.output == "json":
        print(json.dumps([asdict(node) for node in nodes], indent=1))
        return OK
    rows = [
        (
            n.name,
            n.image or "-",
            "running" if n.running else "dead",
            str(n.pid or "-"),
            ", ".join(n.addresses),
        )
        for n in nodes
    ]
    _table(("NODE", "IMAGE", "STATE", "PID", "ADDRESSES"), rows)
    return OK if all(node.running for node in nodes) else NO


def _list(args: argparse.Namespace) -> int:
    """All labs that are up."""
    from kroute.lab import state

    labs = state.running()
    if args.output == "json":
        print(
            json.dumps(
                [
                    {"name": lab.name, "backend": lab.backend, "topology": lab.topology}
                    for lab in labs
                ]
            )
        )
        return OK
    rows = [
        (
            lab.name,
            lab.backend,
            str(len(lab.nodes)),
            "up" if lab.ready else "incomplete",
            lab.topology,
        )
        for lab in labs
    ]
    _table(("LAB", "BACKEND", "NODES", "STATE", "TOPOLOGY"), rows)
    return OK


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints columns."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _graph(args: argparse.Namespace) -> int:
    """Draws the topology."""
    from kroute.lab import clabfile, graph

    read = clabfile.load(args.lab) if "/" in args.lab else _open(args).topology
    print(graph.mermaid(read) if args.mermaid else graph.text(read), end="")
    return OK


def _pod(args: argparse.Namespace) -> int:
    """Adds, deletes, lists or enters pods of a node."""
    from kroute.lab.pods import Pods

    pods = Pods(_open(args).backend)
    if args.action == "list":
        for pod in pods.on(args.node):
            print(f"{pod.name}  {' '.join(pod.addresses)}")
        return OK
    if not args.pod:
        print("kroute lab pod: name a pod", file=sys.stderr)
        return USAGE
    if args.action == "add":
        print(f"{args.pod}  {' '.join(pods.add(args.node, args.pod).addresses)}")
    elif args.action == "del":
        pods.delete(args.node, args.pod)
    else:
        return int(pods.attach(args.node, args.pod, _argv(args.argv) or ["bash"]))
    return OK


def _demo(args: argparse.Namespace) -> int:
    """The guided tour."""
    from kroute.lab.demo import demo

    return OK if demo(_open(args), _progress()) else NO


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "up": _up,
    "down": _down,
    "check": _check,
    "run": _run,
    "exec": _exec,
    "logs": _logs,
    "inspect": _inspect,
    "list": _list,
    "graph": _graph,
    "pod": _pod,
    "demo": _demo,
}
