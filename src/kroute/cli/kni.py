"""``kroute kni``: drive any KNI server as a kubelet would, ours or another; exit code 3 where none answers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kroute.cli import NO, OK, UNREACHABLE, UsageError
from kroute.codec.show import as_json, as_yaml, table
from kroute.model.kni import (
    PROTOCOLS,
    CreateRequest,
    DeleteRequest,
    Generation,
    PodReply,
    PortMapping,
)

if TYPE_CHECKING:
    from kroute.drivers.kni.client import KniClient

DEFAULT_SOCKET = "/run/kroute/kni.sock"
COLLECT = "/kroute.Kni/Collect"
CHECK = "/kroute.Kni/Check"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its own commands."""
    parser = subparsers.add_parser("kni", help="attach, detach and query pods through a KNI server")
    parser.set_defaults(handler=run)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, words: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=words)
        made.add_argument("--socket", default=DEFAULT_SOCKET, help="the server's socket")
        made.add_argument(
            "--generation",
            choices=[g.value for g in Generation],
            help="default: find out; say v0.0.6 to a server of it that has no CreateNetwork",
        )
        made.add_argument("--timeout", type=_seconds, default=90.0, help="seconds a call may take")
        made.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table")
        return made

    attach = action("attach", "give a pod its interfaces")
    attach.add_argument("id", help="the sandbox's id")
    attach.add_argument("netns", help="path of its network namespace")
    attach.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    attach.add_argument("--annotation", action="append", default=[], metavar="KEY=VALUE")
    attach.add_argument("--port", action="append", default=[], metavar="HOST:POD[/tcp|udp|sctp]")
    _pod(attach)
    action("detach", "take them away").add_argument("id")
    action("query", "addresses of a pod; exit code 1 if it has none").add_argument("id")
    action("nodes", "networks of the node; exit code 1 if it is not ready")
    _pod(action("create", "make a network namespace"))
    delete = action("delete", "detach what is in it and remove it")
    delete.add_argument("--id", default="")
    delete.add_argument("--netns", default="")
    _pod(delete)
    action("gc", "release what no pod needs any more (kroute's server only)").add_argument(
        "--dry-run", action="store_true", help="only look"
    )
    check = action("check", "have plugins check what is attached (kroute's server only)")
    check.add_argument("id", nargs="?", default="", help="one sandbox; all without it")
    listing = action("ls", "what is attached (kroute's daemon only)")
    listing.set_defaults(socket="/run/kroute/kroute.sock")


def _pod(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="the pod's name")
    parser.add_argument("--namespace", default="", help="its Kubernetes namespace")


def run(args: argparse.Namespace) -> int:
    """Call and print."""
    if args.action == "ls":
        return _list(args)
    import grpc

    from kroute.drivers.kni.client import KniClient, Refused

    generation = Generation(args.generation) if args.generation else None
    try:
        with KniClient(args.socket, generation, args.timeout) as client:
            return _ACTIONS[args.action](client, args)
    except Refused as refused:
        gone = refused.code is grpc.StatusCode.UNAVAILABLE and "connect" in str(refused)
        nobody = f"no KNI server answers at {args.socket}: does kroute run, with kni.enabled? Is it another --socket?"
        said = nobody if gone else refused
        print(f"kroute kni {args.action}: {said}", file=sys.stderr)
        return UNREACHABLE if gone else NO


def _attach(client: KniClient, args: argparse.Namespace) -> int:
    ports = tuple(map(_port, args.port))
    labels, annotations = _pairs("--label", args.label), _pairs("--annotation", args.annotation)
    pod: dict[str, Any] = {"name": args.name, "namespace": args.namespace, "labels": labels}
    client.attach(args.id, args.netns, annotations=annotations, port_mappings=ports, **pod)
    return _query(client, args)


def _detach(client: KniClient, args: argparse.Namespace) -> int:
    client.detach(args.id)
    return OK


def _query(client: KniClient, args: argparse.Namespace) -> int:
    return _show_pod(client.query(args.id), args)


def _nodes(client: KniClient, args: argparse.Namespace) -> int:
    networks = client.nodes().networks
    rows = [
        {"name": n.name, "ready": n.ready, **dict(sorted(n.extradata.items()))} for n in networks
    ]
    if args.output == "table":
        print("\n\n".join("\n".join(_lines(row)) for row in rows))
    _print_data(rows, args)
    return OK if networks and networks[0].ready else NO


def _lines(row: Mapping[str, Any]) -> Iterator[str]:
    words = {True: "yes", False: "no"}
    for key, value in row.items():
        shown = words[value] if isinstance(value, bool) else value or "-"
        yield f"{key + ':':16}{shown}"


def _create(client: KniClient, args: argparse.Namespace) -> int:
    reply = client.create(CreateRequest(name=args.name, namespace=args.namespace))
    print(reply.netns_path)
    return OK


def _delete(client: KniClient, args: argparse.Namespace) -> int:
    if not (args.id or args.name or args.netns):
        raise UsageError("say what to delete: --id, --name or --netns")
    request = DeleteRequest(
        id=args.id, name=args.name, namespace=args.namespace, netns_path=args.netns
    )
    client.delete(request)
    if args.netns and Path(args.netns).exists():  # servers take an unknown one for done
        reason = "is still there: the server has not made it"
        print(f"kroute kni delete: {args.netns} {reason}", file=sys.stderr)
        return NO
    return OK


def _collect(client: KniClient, args: argparse.Namespace) -> int:
    found = json.loads(client.raw(COLLECT, b"dry-run" if args.dry_run else b""))
    for row in found if args.output == "table" else ():
        print(f"{row['object']}: {row['reason']}: {row['outcome']}")
    _print_data(found, args)
    return OK


def _check(client: KniClient, args: argparse.Namespace) -> int:
    found = json.loads(client.raw(CHECK, args.id.encode()))
    for row in found if args.output == "table" else ():
        print(f"{row['id']} {row['pod']} {row['interface']}: {row['outcome']}")
    _print_data(found, args)
    if args.id and not found:
        print(f"kroute kni check: {args.id} is not attached", file=sys.stderr)
    return NO if any(row["broken"] for row in found) or (args.id and not found) else OK


def _list(args: argparse.Namespace) -> int:
    from kroute.cli.client import Unreachable, ask

    try:
        rows = ask(args.socket, "pods")
    except Unreachable as error:
        print(f"kroute kni: {error}", file=sys.stderr)
        return UNREACHABLE
    if args.output == "table":
        print(table("pods", rows), end="")
    _print_data(rows, args)
    return OK


_ACTIONS: Mapping[str, Callable[[KniClient, argparse.Namespace], int]] = {
    "attach": _attach,
    "detach": _detach,
    "query": _query,
    "nodes": _nodes,
    "create": _create,
    "delete": _delete,
    "gc": _collect,
    "check": _check,
}


def _show_pod(reply: PodReply, args: argparse.Namespace) -> int:
    """The demo's picture: each interface with its addresses and MAC."""
    for name, config in reply.ipconfigs.items() if args.output == "table" else ():
        print(f"{name:16}{config.mac:19}{', '.join(config.ip) or '-'}")
    _print_data({n: asdict(c) for n, c in reply.ipconfigs.items()}, args)
    if not reply.ipconfigs:
        print(f"kroute kni {args.action}: {args.id} has no addresses", file=sys.stderr)
    return OK if reply.ipconfigs else NO


def _print_data(value: Any, args: argparse.Namespace) -> None:
    if args.output != "table":
        print((as_json if args.output == "json" else as_yaml)(value), end="")


def _pairs(option: str, words: list[str]) -> dict[str, str]:
    for word in words:
        if "=" not in word.lstrip("="):
            raise UsageError(f"{option} {word}: expected KEY=VALUE")
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _seconds(word: str) -> float:
    with suppress(ValueError):
        if 0 < float(word) < float("inf"):
            return float(word)
    raise argparse.ArgumentTypeError(f"{word!r} is no number of seconds above 0")


def _port(word: str) -> PortMapping:
    ports, _, protocol = word.partition("/")
    host, _, inside = ports.partition(":")
    if not (_is_port(host) and _is_port(inside) and (protocol or "tcp") in PROTOCOLS):
        raise UsageError(
            f"--port {word}: expected HOST:POD or HOST:POD/PROTOCOL with ports from 1 to 65535, as in 8080:80/tcp"
        )
    number = PROTOCOLS.index(protocol or "tcp")
    return PortMapping(protocol=number, container_port=int(inside), host_port=int(host))


def _is_port(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 5 and 1 <= int(word) <= 65535
