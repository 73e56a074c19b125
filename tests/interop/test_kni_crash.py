"""SIGKILL before every single step of attach and detach, on both paths: the next life undoes or finishes it.

What a step is, and how a life is ended there, is in ``support/kni_crash.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kroute.drivers.kni import netns
from support.kni import KniNode
from support.kni_crash import Life, Lives
from support.netns import Namespace

pytestmark = pytest.mark.root

Records = dict[str, tuple[str, ...]]


class Site:
    """A node whose bridge is there, with one pod that nobody is to touch, and one that is attached and detached."""

    def __init__(self, node: KniNode, lives: Lives, *, fast: bool) -> None:
        self.node, self.lives = node, lives
        self.attach = "attach" if fast else "attach-port"
        self.stays, self.pod = node.pod("stays"), node.pod("pod")
        self.pods = {pod.name: pod for pod in (self.stays, self.pod)}
        # The first pod of a node is the plugins', which make the bridge.
        first = self.lives.live(
            ("attach", self.pod.name, self.pod.path),
            ("detach", self.pod.name, ""),
            ("attach", self.stays.name, self.stays.path),
        )
        # From here on there is a file of a former lease to be used again, and every attach has the same steps.
        self.lives.live(("attach", self.pod.name, self.pod.path), ("detach", self.pod.name, ""))
        self.base = records(first)
        assert self.base.keys() == {self.stays.name}

    def do(self, what: str, dies_at: int = 0) -> Life:
        """One life that attaches or detaches the pod."""
        return self.lives.live((what, self.pod.name, self.pod.path), dies_at=dies_at)

    def next_life(self) -> Records:
        """What the next life knows, after it was seen that the node holds the same and nothing else."""
        known = records(self.lives.live())
        self.holds(known)
        assert known[self.stays.name] == self.base[self.stays.name]
        return known

    def holds(self, known: Records) -> None:
        """Leases, veths, addresses, port maps and libcni's cache tell the story that the records tell."""
        assert self.node.leased() == {ip: name for name, ips in known.items() for ip in ips}
        assert len(self.node.veths()) == len(known)
        for name, pod in self.pods.items():
            assert addresses(pod) == set(known.get(name, ()))
        cached = (self.node.folder / "cache" / "results").iterdir()
        assert {p.name for p in cached} <= {f"kroute-{name}-eth0" for name in known}
        rules = self.node.node.run(["nft", "list", "ruleset"])
        assert {name for name in self.pods if name in rules} <= {
            name for name in known if name == self.pod.name and self.attach == "attach-port"
        }


def records(life: Life) -> Records:
    """Addresses by id; whatever is on record in a life that has begun is attached, nothing is half done."""
    assert not life.killed
    assert life.told["error"] == ""
    found = life.told["records"]
    assert {phase for phase, _ in found.values()} <= {"attached"}
    return {name: tuple(ips) for name, (_, ips) in found.items()}


def addresses(pod: Namespace) -> set[str]:
    links = json.loads(pod.run(["ip", "-j", "addr", "show", "scope", "global"]))
    return {a["local"] for link in links for a in link.get("addr_info", ()) if a}


@pytest.fixture(params=["fast", "exec"])
def site(request):
    is_fast = request.param == "fast"
    with KniNode() as node, Lives(node, fast=is_fast) as lives:
        yield Site(node, lives, fast=is_fast)


def test_an_attach_killed_before_any_of_its_steps_is_whole_or_undone(site):
    whole = site.do(site.attach)
    assert len(records(whole)) == 2
    assert records(site.do("detach")) == site.base
    outcomes = []
    for step in range(1, whole.steps + 1):
        life = site.do(site.attach, dies_at=step)
        assert life.killed, f"step {step}"
        known = site.next_life()
        outcomes.append(site.pod.name in known)
        if site.pod.name in known:
            assert records(site.do("detach")) == site.base
    assert outcomes == sorted(outcomes), "undone up to its record, whole from there on"
    assert not outcomes[0]
    assert outcomes[-1]


def test_a_detach_killed_before_any_of_its_steps_is_finished_or_never_began(site):
    site.do(site.attach)
    whole = site.do("detach")
    assert records(whole) == site.base
    outcomes = []
    for step in range(1, whole.steps + 1):
        attached = records(site.do(site.attach))
        life = site.do("detach", dies_at=step)
        assert life.killed, f"step {step}"
        known = site.next_life()
        assert known in (site.base, attached), f"step {step}"
        outcomes.append(site.pod.name not in known)
        if site.pod.name in known:
            site.do("detach")
    assert outcomes == sorted(outcomes), "as it was up to its intent, finished from there on"
    assert not outcomes[0]
    assert outcomes[-1]


def test_a_recovery_killed_before_any_of_its_steps_is_finished_by_the_next(site):
    """The attach before it died as late as could be: everything was made, nothing was acknowledged."""
    for latest in range(site.do(site.attach).steps, 0, -1):
        site.do("detach")
        assert site.do(site.attach, dies_at=latest).killed
        if site.next_life() == site.base:
            break
    killed = 0
    while True:
        assert site.do(site.attach, dies_at=latest).killed
        if not site.lives.live(dies_at=killed + 1).killed:
            break
        killed += 1
        assert site.next_life() == site.base, f"step {killed}"
    assert killed > 10
    site.holds(site.base)


def namespaces(node: KniNode, lives: Lives) -> list[str]:
    """Files in the folder of CreateNetwork, all of them namespaces where the daemon lives."""
    there = f"/proc/{lives.pid}/root"
    found = sorted(str(path) for path in Path(f"{there}{node.folder}/netns").glob("*"))
    assert all(netns.lives(path) for path in found)
    return [path.removeprefix(there) for path in found]


def test_a_namespace_is_made_and_removed_whole_or_not_at_all_wherever_the_daemon_dies():
    with KniNode() as node, Lives(node, fast=True) as lives:
        steps = lives.live(("create", "pod", "")).steps
        left = []
        for step in range(1, steps + 1):
            lives.live(("delete", "pod", ""))
            assert namespaces(node, lives) == []
            assert lives.live(("create", "pod", ""), dies_at=step).killed
            assert lives.live().told["domains"] == namespaces(node, lives), f"step {step} of create"
            left.append(len(namespaces(node, lives)))
        assert left == sorted(left), "undone up to its record, whole from there on"
        assert not left[0]
        lives.live(("delete", "pod", ""))
        steps = lives.live(("create", "pod", ""), ("delete", "pod", "")).steps
        for step in range(1, steps + 1):
            lives.live(("create", "pod", ""), ("delete", "pod", ""), dies_at=step)
            lives.live(("delete", "pod", ""))
            assert lives.live().told["domains"] == namespaces(node, lives) == [], (
                f"step {step} of delete"
            )
