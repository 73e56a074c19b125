"""Memory of a node: PSS of daemon and speaker, alone on the machine, so that it shares Python's pages with nobody."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.bed import LOCAL, Bed, wait_for
from harness.farm import Farm
from harness.figures import Complain, Row, alternate, plain, row
from harness.proc import pss_mib
from harness.subjects import HERE, SUBJECTS, Kroute, node
from harness.wire import END_OF_RIB, FEEDER, FEEDER_ASN, attributes, table, update

SIZES = (10, 100, 1000)
LIMIT = 60.0


_KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "bench",
    "clusters": [{"name": "bench", "cluster": {"server": "http://127.0.0.1:8001"}}],
    "users": [{"name": "bench", "user": {}}],
    "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
}


def _cidr(number: int) -> str:
    return f"10.{128 + (number >> 8)}.{number & 255}.0/24"


def _nodes(count: int) -> list[dict[str, Any]]:
    others = (
        node(f"n{i}", f"10.9.{2 + i // 250}.{1 + i % 250}", _cidr(i)) for i in range(2, count + 1)
    )
    return [node("n1", LOCAL, _cidr(1)), *others]


class Inventoried(Kroute):
    """kroute that knows so many nodes; one peer announces all their podCIDRs."""

    size = 10

    def config(self) -> dict[str, Any]:
        found = super().config()
        found["peering"]["peers"][0]["accept"] = "podCidrs"
        return found

    def nodes(self) -> list[dict[str, Any]]:
        return _nodes(self.size)


class Kubernetes(Inventoried):
    """The same, with nodes from an API server."""

    def config(self) -> dict[str, Any]:
        found = super().config()
        kubeconfig = str(self.folder / "kubeconfig")
        found["inventory"] = {"kind": "kubernetes", "kubernetes": {"kubeconfig": kubeconfig}}
        return found

    def start(self) -> None:
        objects = self.folder / "objects.json"
        nodes = [_as_the_api_prints(n) for n in self.nodes()]
        objects.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
        (self.folder / "kubeconfig").write_text(json.dumps(_KUBECONFIG))
        program = str(HERE / "harness" / "api_double.py")
        server = self.bed.start(
            self.where, [sys.executable, program, str(objects)], log="fakekube.log"
        )
        log = self.folder / "fakekube.log"
        wait_for(lambda: "serving" in log.read_text(), 20, "the API double")
        self.not_ours = {server.pid}
        super().start()


def _as_the_api_prints(thing: dict[str, Any]) -> dict[str, Any]:
    """A node with the bulk that a real one has: labels, conditions and the images on its disk."""
    images = [
        {"names": [f"registry.example/app/{i}@sha256:{'0' * 64}"], "sizeBytes": 10**8}
        for i in range(50)
    ]
    conditions = [
        {
            "type": kind,
            "status": "False",
            "reason": "KubeletHasSufficient",
            "message": "kubelet has enough",
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    labels = {f"node.example/label-{i}": f"value-{i}" for i in range(20)}
    status = {**thing["status"], "images": images, "conditions": conditions}
    return {**thing, "metadata": {**thing["metadata"], "labels": labels}, "status": status}


@contextmanager
def scene(kind: type[Kroute], size: int = 0) -> Iterator[tuple[Kroute, Farm]]:
    """A quiet daemon with one session."""
    with Bed() as bed:
        here, there = bed.pair([FEEDER])
        with there.entered():
            farm = Farm()
        try:
            subject = type(kind.__name__, (kind,), {"size": size})(bed, here, kernel=True)
            subject.start()
            farm.run(lambda: FEEDER in farm.up, LIMIT)
            farm.send(farm.up[FEEDER], END_OF_RIB)
            farm.rest(1.0)
            yield subject, farm
        finally:
            farm.close()


def inventory(kind: type[Kroute], size: int) -> float:
    """MiB of a node with so many nodes in its inventory and their podCIDRs in its tables."""
    with scene(kind, size) as (subject, farm):
        for i in range(2, size + 1):
            nlri = bytes((24, 10, 128 + (i >> 8), i & 255))
            farm.send(farm.up[FEEDER], update(attributes(FEEDER, (FEEDER_ASN,)), nlri))
        farm.run(lambda: subject.known(size - 1), LIMIT, 0.1)
        farm.run(lambda: len(subject.ask("nodes")) == size, LIMIT, 0.1)
        farm.rest(2.0)
        return pss_mib(ours(subject))


def routes(name: str, count: int = 100_000) -> float:
    """MiB with a table of 100 000 routes in the kernel."""
    with Bed() as bed:
        here, there = bed.pair([FEEDER])
        with there.entered():
            farm = Farm()
        try:
            subject = SUBJECTS[name](bed, here, kernel=True)
            subject.start()
            farm.run(lambda: FEEDER in farm.up, LIMIT)
            farm.send(farm.up[FEEDER], table("packed", count) + END_OF_RIB)
            farm.run(lambda: subject.known(count), LIMIT, 0.1)
            farm.rest(4.0)
            return pss_mib(here.pids())
        finally:
            farm.close()


def ours(subject: Kroute) -> list[int]:
    """The daemon and its speaker, without the API double."""
    others: set[int] = getattr(subject, "not_ours", set())
    return [pid for pid in subject.where.pids() if pid not in others]


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``memory/…`` in MiB."""
    runs = min(runs, 2)
    kinds = {"static": Inventoried, "kubernetes": Kubernetes}
    for kind, subject in kinds.items():
        for size in SIZES:
            name = f"memory/{kind}/{size}"
            if only and not name.startswith(only):
                continue
            job = {"kroute": lambda k=subject, n=size: inventory(k, n)}
            series = alternate(job, runs, lambda s, e, n=name: complain(f"{n}: {s}", e))
            if series:
                yield plain(name, "MiB", series["kroute"].values, f"{size} nodes in the inventory")
    name = "memory/routes/100k"
    if (not only or name.startswith(only)) and not quick:
        jobs = {n: (lambda n=n: routes(n)) for n in ("kroute", "bird", "frr")}
        series = alternate(jobs, runs, lambda s, e: complain(f"{name}: {s}", e))
        found = row(name, "MiB", series, note="100 000 routes in the kernel")
        if found:
            yield found
