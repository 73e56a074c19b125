"""The information desk: who is healthy, who is ready, and answers while the tables move."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kroute.codec.config import parse_config
from kroute.codec.services import service_of, slice_of
from kroute.codec.show import table
from kroute.daemon import answers as module
from kroute.daemon.answers import Desk
from kroute.daemon.control import Control
from kroute.daemon.metrics import service_metrics
from kroute.model.config import Cni, Config, Kni
from kroute.model.errors import DriverError
from kroute.model.inventory import Listed, ServicesListed, SlicesListed
from kroute.model.reason import Why
from kroute.model.service import CheckState
from kroute.model.state import Observed
from kroute.plan.observe import Checked, KernelChanged
from kroute.plan.tables import rejected
from support.daemon_road import Street
from support.routing import V4, attributes, dual, kernel, n, negotiated, node, peer
from support.services import endpoint, service_object, slice_object

N1 = node(1, "10.244.1.0/24", addresses=dual(1))
N2 = node(2, "10.244.2.0/24", addresses=dual(2))


class Fake:
    """As much of a daemon as the desk looks at."""

    def __init__(self, config: Config | None = None) -> None:
        self.street = Street()
        self.routing, self.road = self.street.routing, self.street.road
        self.conflist = SimpleNamespace(done=True)
        self.config = config or Config()
        observed = Observed(me="n1", config=self.config)
        self.control = Control(observed, self.road, lambda _wish: None, self.clock)
        self.fib: Any = None
        self.kni = None
        trials = SimpleNamespace(problems=lambda: (), state=lambda _host: {})
        self.door = SimpleNamespace(trials=trials)
        self.loop = None
        self.watcher = SimpleNamespace(error="")
        self.ticked = 0.0
        self.longest_turn = 0.0
        self.desk = Desk(self)  # type: ignore[arg-type]

    def clock(self) -> float:
        return self.street.now

    def begins(self) -> None:
        for event in (KernelChanged(kernel()), Listed((N1, N2))):
            self.control.post(event)
        self.control.replan()

    def asks(self, path: str, **query: str) -> tuple[int, Any]:
        answer = self.desk.respond(path, query)
        assert answer is not None
        return answer.status, json.loads(answer.body)


@pytest.fixture
def fake() -> Fake:
    return Fake()


def test_health_is_a_turning_event_loop(fake: Fake) -> None:
    assert fake.asks("/healthz") == (200, {"ok": True})
    fake.street.now = module.LONGEST_SILENCE + 1
    status, said = fake.asks("/healthz")
    assert status == 503
    assert "has not turned" in said["error"]
    fake.ticked = fake.street.now
    assert fake.asks("/healthz")[0] == 200


def test_readiness_names_each_thing_that_is_missing(fake: Fake) -> None:
    fake.conflist.done = False
    fake.fib = SimpleNamespace(state=lambda: SimpleNamespace(synced=False))
    assert fake.asks("/readyz") == (
        503,
        {
            "ready": False,
            "missing": [
                "inventory: not listed yet",
                "cni: the conflist is not written",
                "fib: not in sync with the kernel",
            ],
        },
    )


def test_a_node_that_writes_no_conflist_is_not_asked_for_it() -> None:
    fake = Fake(Config(cni=Cni(enabled=False)))
    fake.conflist.done = False
    fake.control.observed = replace(fake.control.observed, listed=True)
    assert fake.asks("/readyz")[0] == 200


def test_a_peer_is_waited_for_from_the_first_plan_on_and_then_given_up(fake: Fake) -> None:
    fake.street.now = 100.0  # the inventory was long in coming
    fake.begins()
    status, said = fake.asks("/readyz")
    assert (status, said["missing"]) == (503, ["peers: node/n2: connecting"])
    assert fake.desk.problems() == ()
    fake.street.now += module.PEER_PATIENCE + 1
    assert fake.asks("/readyz")[0] == 200
    assert [p.object for p in fake.desk.problems()] == ["node/n2"]


def test_a_session_that_comes_up_makes_ready(fake: Fake) -> None:
    fake.begins()
    fake.street.up(peer(2))
    assert fake.asks("/readyz")[0] == 200


def test_what_keeps_the_kernel_from_being_read_is_a_problem(fake: Fake) -> None:
    fake.watcher.error = "kernel dump: no buffer space available"
    assert [(p.object, p.reason) for p in fake.desk.problems()] == [("kernel", fake.watcher.error)]


def test_unknown_paths_have_no_answer(fake: Fake) -> None:
    for path in ("/", "/v1", "/v1/", "/v1/nothing", "/peers", "/v1/v1/peers", "//healthz"):
        assert fake.desk.respond(path, {}) is None


@pytest.mark.parametrize("target", ["", "nonsense", "10.0.0.0/99", "10.244.2.7/x", "1" * 5000])
def test_a_target_that_is_no_address_is_a_bad_request(fake: Fake, target: str) -> None:
    assert fake.asks("/v1/why", target=target)[0] == 400


@pytest.mark.parametrize(("enabled", "said"), [(False, "KNI is off"), (True, "not started yet")])
def test_where_kni_does_not_serve_no_pods_is_no_answer(enabled: bool, said: str) -> None:
    fake = Fake(Config(kni=Kni(enabled=enabled)))
    status, body = fake.asks("/v1/pods")
    assert (status, said in body["error"]) == (400, True)


def test_an_answer_is_read_again_while_the_tables_move(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def moving(*_: object) -> list[object]:
        attempts.append(1)
        if len(attempts) < module.READINGS:
            raise RuntimeError("dictionary changed size during iteration")
        return []

    monkeypatch.setattr("kroute.plan.queries.peers", moving)
    assert fake.asks("/v1/peers") == (200, [])


def test_tables_that_never_rest_are_told_about(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def moving(*_: object) -> list[object]:
        raise KeyError("gone")

    monkeypatch.setattr("kroute.plan.queries.peers", moving)
    with pytest.raises(DriverError, match="ask again"):
        fake.desk.respond("/v1/peers", {})


# --- a peer's tables --------------------------------------------------------------------------------

POLICY = """
peering:
  topology: none
  peers:
  - {name: tor, address: 192.0.2.254, asn: 65001, import: p, export: p}
policies:
- name: p
  rules:
  - {name: no, match: {prefixes: [{prefix: 10.9.0.0/16}]}, then: reject, reason: not here}
  - {name: yes, set: {med: 7}, then: accept}
"""


def told() -> Fake:
    """A daemon with an external peer that has told three networks."""
    fake = Fake(parse_config(POLICY))
    fake.begins()
    (name,) = fake.routing.peers
    tor = fake.routing.peers[name].peer
    fake.routing.session_up(name, negotiated(tor, router_id="192.0.2.254"), 0.0)
    adj_in, rib = fake.routing.peers[name].adj_in, fake.routing.rib
    block = rib.judge(adj_in, attributes("192.0.2.254", 65001))
    rib.learn(adj_in, V4, block, [n(p) for p in ("10.9.0.0/16", "10.8.0.0/16", "10.7.0.0/16")])
    fake.road.flush()
    return fake


def test_a_peers_table_says_what_policy_made_of_each_prefix():
    fake = told()
    _, rows = fake.asks("/v1/rib-in", peer="tor")
    assert [(r["prefix"], r["rules"], r["changed"]) for r in rows] == [
        ("10.7.0.0/16", ["p/yes"], {"multi_exit_disc": ["", "7"]}),
        ("10.8.0.0/16", ["p/yes"], {"multi_exit_disc": ["", "7"]}),
    ]
    _, (row,) = fake.asks("/v1/rib-in", peer="peer/tor", rejected="1")
    assert (row["prefix"], row["why"], row["rules"]) == ("10.9.0.0/16", "policy", ["p/no"])
    assert row["reason"] == "rejected by rule p/no: not here"


def test_a_peers_table_comes_in_pages():
    fake = told()
    _, (first,) = fake.asks("/v1/rib-in", peer="tor", limit="1")
    _, (second,) = fake.asks("/v1/rib-in", peer="tor", limit="1", after=first["prefix"])
    _, rest = fake.asks("/v1/rib-in", peer="tor", after=second["prefix"])
    assert [first["prefix"], second["prefix"], rest] == ["10.7.0.0/16", "10.8.0.0/16", []]


def test_what_a_peer_is_told_is_shown_and_what_it_is_not_told_has_its_reason():
    fake = told()
    _, (row,) = fake.asks("/v1/rib-out", peer="tor")
    assert (row["prefix"], row["from"], row["rules"]) == ("10.244.1.0/24", "local", ["p/yes"])
    assert row["attributes"]["as_path"] == "64512"
    _, rejected = fake.asks("/v1/rib-out", peer="tor", rejected="1")
    assert {r["reason"] for r in rejected} == {"it came from this peer"}


def test_asking_for_an_unknown_peer_says_which_there_are():
    status, answer = told().asks("/v1/rib-in", peer="tro")
    assert (status, answer["error"]) == (
        400,
        "there is no peer 'tro' on this node (there is: peer/tor)",
    )


def test_a_configured_peer_that_has_no_session_is_told_with_its_reason():
    fake = Fake(parse_config("peering: {peers: [{name: me, address: 192.0.2.1, asn: 65001}]}"))
    fake.begins()
    for name in ("me", "peer/me"):
        status, said = fake.asks("/v1/peer", name=name)
        assert (status, said["known"]) == (200, ["node/n2"])
        assert said["why"] == [
            "address: 192.0.2.1 is an address of this node, too; no session is set up"
        ]
    assert fake.asks("/v1/peer", name="nobody")[1]["why"] == []


def test_the_effective_configuration_says_what_applies_to_each_peer():
    _, answer = told().asks("/v1/config", effective="1")
    assert answer["effective"]["peers"]["peer/tor"] == {
        "kind": "external",
        "accept": "none",
        "acceptPrefixes": [],
        "import": "p",
        "announce": ["ownPods", "service"],
        "export": "p",
        "nextHop": "auto",
        "passOn": False,
    }


def test_why_names_the_rules():
    _, answer = told().asks("/v1/why", target="10.8.0.1")
    assert "import rules that it met: p/yes" in answer["story"]
    assert answer["paths"][0]["rules"] == ["p/yes"]


def test_rejected_prefixes_are_counted_by_reason():
    fake = told()
    (state,) = fake.routing.peers.values()
    assert rejected(state) == {Why.POLICY: 1}


# --- services ---------------------------------------------------------------------------------------

SERVICES = """
services:
  enabled: true
  advertise: [loadBalancerIP]
  ranges: [198.51.100.0/24]
  static: [{name: dns, addresses: [203.0.113.53], check: {tcp: {port: 53}}}]
peering:
  topology: none
  peers: [{name: tor, address: 192.0.2.254, asn: 65001}]
"""


@pytest.fixture
def served() -> Fake:
    """A daemon that announces a service of Kubernetes and a static one to a switch."""
    fake = Fake(parse_config(SERVICES))
    thing = service_object(clusterIPs=["10.96.0.1"], balancer=["198.51.100.1", "192.168.7.7"])
    service, ready = service_of(thing)[0], slice_of(slice_object(endpoint("n1")))[0]
    assert service is not None
    assert ready is not None
    fake.control.post(ServicesListed((service,)))
    fake.control.post(SlicesListed((ready,)))
    fake.control.post(Checked("dns", CheckState(True, "127.0.0.1 port 53 answers")))
    fake.begins()
    (name,) = fake.routing.peers
    tor = fake.routing.peers[name].peer
    fake.routing.session_up(name, negotiated(tor, router_id="192.0.2.254"), 0.0)
    fake.road.flush()
    return fake


def test_services_are_told_with_what_becomes_of_them_and_to_whom(served: Fake):
    _, rows = served.asks("/v1/services")
    assert [(r["address"], r["verdict"], r["to"]) for r in rows] == [
        ("192.168.7.7", "out-of-range", []),
        ("198.51.100.1", "announced", ["peer/tor"]),
        ("203.0.113.53", "announced", ["peer/tor"]),
    ]
    _, rows = served.asks("/v1/services", all="1")
    assert rows[0]["address"] == "10.96.0.1"
    assert rows[0]["verdict"] == "not-asked-for"


def test_services_have_a_table(served: Fake):
    _, rows = served.asks("/v1/services")
    lines = table("services", rows).splitlines()
    assert lines[0].split() == [
        *("ADDRESS", "SERVICE", "CLASS", "POLICY", "ENDPOINTS", "ANNOUNCED", "TO", "WHY"),
    ]
    assert "198.51.100.1/32  peer/tor  policy Cluster, 1 of 1 endpoint(s) on this node" in lines[2]
    assert "static/dns" in lines[3]
    assert " up " in lines[3]


def test_the_story_of_a_service_address_names_its_service_and_who_is_told(served: Fake):
    _, told = served.asks("/v1/why", target="198.51.100.1")
    assert told["routed"]
    assert "is a loadBalancerIP address of service default/web: announced" in told["story"][0]
    assert told["story"][-1].endswith("told to peer/tor")
    _, refused = served.asks("/v1/why", target="192.168.7.7")
    assert not refused["routed"]
    assert "out-of-range" in refused["story"][0]
    _, unasked = served.asks("/v1/why", target="10.96.0.1")
    assert "not-asked-for" in unasked["story"][0]


def test_metrics_count_addresses_of_services_by_what_becomes_of_them(served: Fake):
    rows = served.control.desired.services
    text = "\n".join(
        f"{m.name} {s.labels} {s.value}"
        for m in service_metrics(rows, served.control.observed.checks)
        for s in m.samples
    )
    assert text.splitlines() == [
        "kroute_services_announced {'class': 'loadBalancerIP'} 1",
        "kroute_services_announced {'class': 'static'} 1",
        "kroute_services_withheld {'reason': 'out-of-range'} 1",
        "kroute_service_check_up {'service': 'dns'} True",
    ]
