"""``kroute plan``: what would change, before it does.

Exit codes: 0 nothing would change, 1 something would, 4 something would and there are warnings, 2 usage or an input
that is refused, 3 the daemon cannot be reached.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kroute.cli import NO, OK, UNREACHABLE, USAGE
from kroute.cli.client import DEFAULT_SOCKET, Unreachable, ask
from kroute.codec.show import as_json, as_yaml
from kroute.model.errors import Complaint, InputError, KrouteError

if TYPE_CHECKING:
    from kroute.daemon.rehearsal import Setting, Spread
    from kroute.model.config import Config
    from kroute.model.rehearsal import RehearsalReport

WARNED = 4
"""Exit code: something would change, and there are warnings."""

MANY = 100
"""Nodes from which on the work is divided among processes."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "plan",
        help="what would change, before it does",
        description="What a configuration or an inventory would change. With --objects it needs no daemon: both "
        "states come from files. Without, the running daemon is asked what it observes. Exit codes: 0 nothing would "
        "change, 1 something would, 4 something would and there are warnings.",
    )
    parser.add_argument("--config", metavar="FILE", help="the new configuration")
    parser.add_argument(
        "--objects", metavar="FILE", help="the inventory: kubectl get nodes -o yaml"
    )
    parser.add_argument(
        "--from-config", metavar="FILE", help="the configuration now (offline; default: --config)"
    )
    parser.add_argument(
        "--from-objects", metavar="FILE", help="the inventory now (offline; default: --objects)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--node", action="append", metavar="NAME", help="only this node")
    which.add_argument("--all", action="store_true", help="every node (default where offline)")
    parser.add_argument(
        "--only-on",
        action="append",
        default=[],
        metavar="NODE",
        help="the new configuration is put in force on this node alone",
    )
    parser.add_argument("--full", action="store_true", help="each node by itself, every line")
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table")
    parser.add_argument("--socket", default=DEFAULT_SOCKET, help="the daemon's local socket")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Rehearse and print."""
    from kroute.daemon.rehearsal import rehearse

    try:
        before, after, nodes = (_offline if _is_offline(args) else _live)(args)
        named = (*(nodes or ()), *args.only_on)
        unknown = [n for n in named if n not in _names(before, after)]
        if unknown:
            return _refuse(f"no node is called {unknown[0]}")
    except Unreachable as error:
        print(f"kroute plan: {error}", file=sys.stderr)
        return UNREACHABLE
    except KrouteError as error:
        return _refuse(str(error))
    # Millions of objects that all live to the end: to walk over them again and again is half of the time.
    gc.disable()
    try:
        spread = _spread(len(_names(before, after)))
        report = rehearse(before, after, nodes, progress=_progress, spread=spread)
    finally:
        gc.enable()
    _progress("")
    print(_render(report, args), end="")
    return (WARNED if report.cautions else NO) if report.changes else OK


def _refuse(words: str) -> int:
    print(f"kroute plan: {words}", file=sys.stderr)
    return USAGE


def _names(before: Setting | None, after: Setting) -> set[str]:
    known = before.observed.nodes if before is not None else {}
    return {*known, *after.observed.nodes}


# --- what is compared ---------------------------------------------------------------------------------


def _is_offline(args: argparse.Namespace) -> bool:
    return bool(args.objects or args.from_objects or args.from_config)


Compared = tuple["Setting | None", "Setting", "list[str] | None"]


def _offline(args: argparse.Namespace) -> Compared:
    """Both states from files; before is what --from-config and --from-objects say, or nothing."""
    from dataclasses import replace

    from kroute.daemon.rehearsal import setting_of

    objects = args.objects or args.from_objects
    if not objects:
        raise InputError("--objects", [Complaint("", "is needed beside --from-config")])
    known = bool(args.from_config or args.from_objects)
    if args.only_on and not known:
        raise InputError("--from-config", [Complaint("", "is needed beside --only-on")])
    new = _config(args.config or args.from_config)
    old = _config(args.from_config or args.config)
    after = setting_of(new, *_read(objects))
    before = setting_of(old, *_read(args.from_objects or objects)) if known else None
    if args.only_on:
        configs = dict.fromkeys(args.only_on, new)
        after = replace(after, observed=replace(after.observed, config=old), configs=configs)
    return before, after, args.node


def _read(path: str) -> tuple[str, str]:
    try:
        return Path(path).read_text(encoding="utf-8"), path
    except UnicodeDecodeError as error:
        raise InputError(path, [Complaint("", f"is no text: {error}")]) from error
    except OSError as error:
        raise InputError(path, [Complaint("", str(error.strerror))]) from error


def _config(path: str | None) -> Config:
    from kroute.drivers.config_file import ConfigFile
    from kroute.model.config import Config

    return ConfigFile(path).load() if path else Config()


def _live(args: argparse.Namespace) -> Compared:
    """What the running daemon observes and hears, and the same with the new configuration."""
    from dataclasses import replace

    from kroute.daemon.observation import read
    from kroute.daemon.rehearsal import Setting

    if not args.config:
        raise InputError("--config", [Complaint("", "is needed: what shall be compared?")])
    new = _config(args.config)
    seen = read(ask(args.socket, "observation"))
    observed, me = seen.observed, seen.observed.me
    kernels = {me: observed.kernel} if observed.kernel is not None else {}
    before = Setting(observed=observed, kernels=kernels, heard={me: seen.heard})
    if args.only_on:
        after = replace(before, configs=dict.fromkeys(args.only_on, new))
    else:
        after = replace(before, observed=replace(observed, config=new))
    nodes = None if args.all else args.node or [me]
    if seen.down:
        words = ", ".join(seen.down[:4]) + (" …" if len(seen.down) > 4 else "")
        print(f"kroute plan: down now, and counted as silent: {words}", file=sys.stderr)
    return before, after, nodes


# --- how it is said -----------------------------------------------------------------------------------


def _render(report: RehearsalReport, args: argparse.Namespace) -> str:
    from kroute.codec.config import plain
    from kroute.codec.rehearsal import colours, plain_paint, report_text

    if args.output != "table":
        return (as_json if args.output == "json" else as_yaml)(plain(report))
    paint = colours if sys.stdout.isatty() else plain_paint
    return report_text(report, full=args.full, paint=paint)


def _progress(words: str) -> None:
    """One line on a terminal, which goes away again."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


def _spread(nodes: int) -> Spread:
    """A :func:`map` for so many nodes: many are divided among as many processes as there are cores."""
    cores = len(os.sched_getaffinity(0))
    return partial(_forked, cores) if nodes > MANY and cores > 1 else map


_work: Callable[[str], Any]
"""What forked processes do; they inherit it, with all that it refers to."""


def _forked(cores: int, work: Callable[[str], Any], names: Sequence[str]) -> Iterable[Any]:
    global _work
    _work = work
    with get_context("fork").Pool(cores) as pool:
        return pool.map(_do, names, chunksize=max(1, len(names) // (8 * cores)))


def _do(name: str) -> Any:
    return _work(name)
