"""Any changes and any faults of an API server, in any order, end in what the server holds; and only what was deleted
was ever told to be gone.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kroute.drivers.inventory.api import Patience
from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.model.config import KubernetesInventory
from support.fakekube import Failure, FakeKube
from support.inventory import Told, following, kubeconfig, node_object

HASTY = Patience(connect=10, answer=10, silence=1, first_pause=0.01, longest_pause=0.05)
NUMBERS = st.integers(1, 5)
Step = tuple[str, int]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NUMBERS),
        st.tuples(st.just("delete"), NUMBERS),
        st.tuples(
            st.sampled_from(
                ["compact", "fin", "rst", "stop", "start", "garbage", "watchlist", "pause"]
            ),
            st.just(0),
        ),
        st.tuples(st.just("fail"), st.sampled_from([401, 410, 429, 500, 503])),
        st.tuples(st.just("event"), st.sampled_from([410, 500])),
    ),
    max_size=14,
)


class World:
    """An API server to which steps are done."""

    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.deleted: set[str] = set()
        self._serving = True
        self._round = 0

    def do(self, step: Step) -> None:
        """One change or fault."""
        name, number = step
        kube = self.kube
        faults: dict[str, Callable[[], object]] = {
            "put": lambda: self._put(number),
            "delete": lambda: self._delete(f"n{number}"),
            "compact": kube.store.compact,
            "fin": lambda: kube.drop("fin"),
            "rst": lambda: kube.drop("rst"),
            "stop": self._stop,
            "start": self.start,
            "garbage": lambda: setattr(kube, "say_next", b"{garbage\n"),
            "watchlist": lambda: setattr(kube, "watchlist", not kube.watchlist),
            "pause": lambda: None,
            "fail": lambda: setattr(kube, "failure", Failure(code=number, times=2)),
            "event": lambda: setattr(kube, "failure", Failure(code=number, times=1, event=True)),
        }
        faults[name]()

    def _put(self, number: int) -> None:
        self._round += 1
        self.kube.put(node_object(number, round=str(self._round)))

    def _delete(self, name: str) -> None:
        if ("", name) in self.kube.store.objects["nodes"]:
            self.deleted.add(name)
            self.kube.delete(name)

    def _stop(self) -> None:
        if self._serving:
            self._serving = False
            self.kube.stop()

    def start(self) -> None:
        """Serve again."""
        if not self._serving:
            self._serving = True
            self.kube.start()

    def agrees(self, told: Told) -> bool:
        """Whether what was told is what the server holds."""
        held = self.kube.store.objects["nodes"].values()
        rounds = {t["metadata"]["name"]: t["metadata"]["labels"].get("round") for t in held}
        known = {n.name: n.labels.get("round") for n in told.nodes.values()}
        return told.lists > 0 and known == rounds and told.stale is None


async def run(steps: list[Step], folder: str) -> None:
    """Do the steps while the driver follows."""
    with FakeKube(bookmark_every=0.1) as kube:
        for number in (1, 2, 3):
            kube.put(node_object(number))
        world = World(kube)
        config = KubernetesInventory(kubeconfig=kubeconfig(Path(folder) / "kubeconfig", kube.url))
        async with following(KubernetesInventoryDriver(config, HASTY)) as told:
            for step in steps:
                await asyncio.to_thread(world.do, step)
                await asyncio.sleep(0.02 if step[0] == "pause" else 0)
            await asyncio.to_thread(world.start)
            kube.failure = None
            await told.until(world.agrees)
            assert set(told.removed) <= world.deleted


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_any_changes_and_faults_end_in_what_the_server_holds(steps: list[Step]):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(steps, folder))
