"""The FIB driver alone beside a C program that does nothing else, and beside `ip -batch`.

    python bench/fib.py [--only fib/add] [--runs 5]

Everyone installs the same prefixes over the same interface in a namespace of its own, moves all of them to another
gateway, dumps them, removes them. Contenders alternate; medians are compared. The C program's time is that of
its own loop, `ip`'s includes the start of its process (2 ms), kroute's is from ``update()`` until the kernel has it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from struct import pack

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from harness.figures import Row, Series, row
from kroute.drivers.fib import Fib
from kroute.model.fib import Nexthop, Nexthops
from kroute.model.net import Family, Nlri
from support.netns import Lab, Namespace

PROTOCOL = METRIC = 201
VERBS = ("add", "replace", "dump", "delete")
SIZES = (("10k", 10_000), ("100k", 100_000))
GATEWAYS = {
    Family.IPV4: (("192.0.0.2", "v0"), ("192.0.1.2", "v1")),
    Family.IPV6: (("fd00::2", "v0"), ("fd00:1::2", "v1")),
}
Times = dict[str, float]
"""Seconds by verb."""


class Bed:
    """A namespace with two uplinks, and the tools."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.ns: Namespace = lab.namespace("bed")
        far = lab.namespace("far")
        for number in (0, 1):
            lab.veth(self.ns, f"v{number}", far, f"v{number}")
            self.ns.address(f"v{number}", f"192.0.{number}.1/24", f"fd00:{number}::1/64")
        self.folder = folder
        self.nlbench = _compiled(folder)

    def via(self, family: Family, number: int) -> Nexthops:
        gateway, interface = GATEWAYS[family][number]
        return (Nexthop(ip_address(gateway).packed, self.ns.ifindex(interface)),)


def _compiled(folder: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        print("no C compiler: no ratio to C", file=sys.stderr)
        return None
    binary = folder / "nlbench"
    source = Path(__file__).with_name("nlbench.c")
    subprocess.run([compiler, "-O2", "-Wall", "-o", str(binary), str(source)], check=True)
    return binary


def nlris(family: Family, count: int) -> list[Nlri]:
    """The prefixes that nlbench.c makes."""
    if family is Family.IPV4:
        return [b"\x18" + pack(">I", 0x14000000 + number * 256)[:3] for number in range(count)]
    return [b"\x40\x20\x01\x0d\xb8" + pack(">I", number) for number in range(count)]


async def by_kroute(bed: Bed, family: Family, count: int) -> Times:
    prefixes = nlris(family, count)
    fib = Fib(protocol=PROTOCOL, metric=METRIC, netns=bed.ns.path, audit_interval=3600)
    fib.start()
    await fib.quiesced()
    ways = {"add": bed.via(family, 0), "replace": bed.via(family, 1), "delete": None}
    times: Times = {}
    try:
        for verb in VERBS:
            changes = dict.fromkeys(prefixes, ways[verb]) if verb in ways else {}
            started = time.perf_counter()
            if verb == "dump":
                routes = await fib.installed(family)
                assert len(routes) == count, f"{len(routes)} of {count} dumped"
            else:
                fib.update(family, changes)
                await fib.quiesced()
            times[verb] = time.perf_counter() - started
        state = fib.state()
        assert not state.failed, state.failures
        assert state.written == 3 * count, state
    finally:
        fib.close()
    return times


def by_c(bed: Bed, family: Family, count: int) -> Times:
    times: Times = {}
    for verb in VERBS:
        gateway, interface = GATEWAYS[family][1 if verb == "replace" else 0]
        which = "4" if family is Family.IPV4 else "6"
        how = [gateway, interface, str(PROTOCOL), str(METRIC)]
        said = bed.ns.run([str(bed.nlbench), verb, which, str(count), *how])
        result = json.loads(said)
        assert (result["routes"], result["errors"]) == (count, 0), said
        times[verb] = result["seconds"]
    return times


def by_ip_batch(bed: Bed, family: Family, count: int) -> Times:
    times: Times = {}
    flag = "-4" if family is Family.IPV4 else "-6"
    for verb in VERBS:
        if verb == "dump":
            command = ["ip", flag, "route", "show", "proto", str(PROTOCOL)]
        else:
            command = ["ip", flag, "-batch", str(_batch_file(bed, family, count, verb))]
        started = time.perf_counter()
        subprocess.run(
            ["ip", "netns", "exec", bed.ns.name, *command], check=True, stdout=subprocess.DEVNULL
        )
        times[verb] = time.perf_counter() - started
    return times


def _batch_file(bed: Bed, family: Family, count: int, verb: str) -> Path:
    path = bed.folder / f"{verb}-{family.label}-{count}"
    if not path.exists():
        gateway, interface = GATEWAYS[family][1 if verb == "replace" else 0]
        way = "" if verb == "delete" else f" via {gateway} dev {interface}"
        make = IPv4Address if family is Family.IPV4 else IPv6Address
        size = family.bits >> 3
        with path.open("w") as lines:
            for nlri in nlris(family, count):
                prefix = f"{make(nlri[1:].ljust(size, bytes(1)))}/{nlri[0]}"
                lines.write(f"route {verb} {prefix}{way} proto {PROTOCOL} metric {METRIC}\n")
    return path


def measured(bed: Bed, family: Family, count: int, runs: int) -> dict[str, list[Times]]:
    """All contenders, in turn and each time another one first."""
    contenders = {"kroute": lambda: asyncio.run(by_kroute(bed, family, count))}
    if bed.nlbench is not None:
        contenders["c"] = lambda: by_c(bed, family, count)
    contenders["ip-batch"] = lambda: by_ip_batch(bed, family, count)
    results: dict[str, list[Times]] = {name: [] for name in contenders}
    for run in range(runs):
        names = list(contenders)
        for name in names[run % len(names) :] + names[: run % len(names)]:
            results[name].append(contenders[name]())
    return results


def _rows(results: dict[str, list[Times]], label: str, count: int) -> Iterator[Row]:
    for verb in VERBS:
        rates = {
            name: Series([count / times[verb] for times in some]) for name, some in results.items()
        }
        note = "C only counts them; kroute ends with a dict" if verb == "dump" else ""
        found = row(f"fib/{verb}/{label}", "routes/s", rates, note=note)
        if found is not None:
            yield found


def rows(only: str | None = None, runs: int = 5, quick: bool = False) -> Iterable[Row]:
    """Measure what ``only`` (the beginning of row ids) names, or all; yields rows as they are ready."""
    with Lab("bench") as lab, tempfile.TemporaryDirectory() as folder:
        bed = Bed(lab, Path(folder))
        for size, count in SIZES[:1] if quick else SIZES:
            for family in Family:
                label = f"{family.label}/{size}"
                wanted = {f"fib/{verb}/{label}" for verb in VERBS}
                if only:
                    wanted = {each for each in wanted if each.startswith(only)}
                if wanted:
                    found = _rows(measured(bed, family, count, runs), label, count)
                    yield from (each for each in found if each["id"] in wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", help="rows whose id begins so, as fib/add")
    parser.add_argument("--runs", type=int, default=5, help="runs of each contender (5)")
    options = parser.parse_args()
    for each in rows(options.only, options.runs):
        ratio = "  ".join(f"{value:5.2f}× {name}" for name, value in each["ratio"].items())
        low, high = each["spread"]
        value = f"{each['value']:>9,.0f} {each['unit']}  ({low:,.0f}-{high:,.0f})"
        print(f"{each['id']:26} {value}  {ratio}", flush=True)


if __name__ == "__main__":
    main()
