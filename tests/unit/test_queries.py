"""What people ask, answered from memory."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from kroute.model.bgp import PeerKind, SessionDown
from kroute.model.config import Config
from kroute.model.policies import OriginState
from kroute.model.problem import Problem, Severity
from kroute.model.reason import Reason, Why
from kroute.model.state import Desired, Observed
from kroute.plan import plan, queries
from kroute.plan.policy import Acceptance, OriginVerdict
from support.routing import (
    V4,
    Checked,
    Listener,
    attributes,
    connected,
    kernel,
    listener,
    n,
    node,
    peer,
)

N2, N3 = peer(2), peer(3)
POD = "10.244.2.0/24"
THEFT = Reason(Why.ORIGIN_HIJACK, "n2 owns it, says the test")
NODES = [node(1, "10.244.1.0/24"), node(2, POD), node(3, "10.244.3.0/24")]


def known() -> tuple[Observed, Desired]:
    observed = Observed(
        me="n1",
        config=Config(),
        nodes={x.name: x for x in NODES},
        listed=True,
        kernel=kernel(),
    )
    return observed, plan(observed)


def learned() -> Listener:
    memory = listener(N2, N3)
    memory.originate("10.244.1.0/24")
    memory.up(N2)
    memory.learn(N2, attributes(), POD)
    memory.end(N2)
    memory.now = 30.0
    memory.flush()
    return memory


def peers(memory: Listener) -> dict[str, dict[str, Any]]:
    return {p["name"]: p for p in queries.peers(memory.routing, memory.now)}


def routes(memory: Listener, **kwargs: bool) -> dict[str, dict[str, Any]]:
    return {r["prefix"]: r for r in queries.routes(memory.routing, **kwargs)}


def why(memory: Listener, prefix: str) -> dict[str, Any]:
    return queries.why(*known(), memory.routing, ip_network(prefix))


# --- peers ------------------------------------------------------------------------------------------


def test_an_established_peer_shows_what_was_agreed_received_and_announced():
    found = peers(learned())["node/n2"]
    assert (found["state"], found["uptime"], found["reason"]) == ("established", 30.0, "")
    assert (found["received"], found["announced"], found["stale"]) == (1, 1, 0)
    assert (found["endOfRib"], found["families"]) == (["ipv4", "ipv6"], ["ipv4", "ipv6"])
    assert (found["address"], found["localAddress"]) == ("192.0.2.2", "192.0.2.1")
    assert (found["routerId"], found["asn"], found["node"]) == ("192.0.2.2", 64512, "n2")


def test_a_peer_that_was_never_up_says_that_it_is_connecting():
    found = peers(learned())["node/n3"]
    assert (found["state"], found["uptime"], found["reason"]) == ("idle", None, "connecting")


def test_a_lost_peer_says_why_and_what_is_kept():
    memory = learned()
    memory.down(N2, SessionDown(reason="hold timer expired"))
    memory.routing.peers[N2.name].attempt = "connection refused"
    found = peers(memory)["node/n2"]
    assert found["reason"] == "hold timer expired; connection refused"
    assert (found["stale"], found["flaps"], found["announced"]) == (1, 1, 0)


def test_peers_come_in_the_order_of_their_names():
    memory = listener(peer(3), peer(10), peer(2))
    assert list(peers(memory)) == ["node/n10", "node/n2", "node/n3"]


# --- routes -----------------------------------------------------------------------------------------


def test_a_route_shows_its_source_legs_and_reason():
    found = routes(learned())[POD]
    assert (found["from"], found["best"], found["selected"]) == (["node/n2"], "node/n2", True)
    assert found["nexthops"] == [{"gateway": "192.0.2.2", "oif": 1, "weight": 1}]
    assert (found["why"], found["reason"]) == ("only-path", "the only eligible path")
    assert (found["paths"], found["stale"], found["local"]) == (1, False, False)


def test_our_own_prefix_is_local_and_has_no_legs():
    found = routes(learned())["10.244.1.0/24"]
    assert (found["local"], found["nexthops"], found["from"]) == (True, [], ["local"])


def test_a_stale_route_says_so():
    memory = learned()
    memory.down(N2)
    assert routes(memory)[POD]["stale"]


def test_routes_are_in_the_order_of_addresses():
    memory = learned()
    memory.learn(N2, attributes(), "9.0.0.0/8", "10.0.0.0/8", "10.244.0.0/16")
    memory.flush()
    assert list(routes(memory)) == [
        "9.0.0.0/8",
        "10.0.0.0/8",
        "10.244.0.0/16",
        "10.244.1.0/24",
        POD,
    ]


def test_a_prefix_that_nobody_can_reach_is_shown_with_the_reason():
    memory = learned()
    memory.world(kernel(connected("198.51.100.0/24")))
    memory.flush()
    found = routes(memory)[POD]
    assert (found["selected"], found["nexthops"], found["best"]) == (False, [], "")
    assert found["why"] == "nexthop-unreachable"


def test_paths_that_are_not_used_are_listed_each_with_its_reason():
    tor = peer(9, PeerKind.EXTERNAL)
    memory = listener(N2, tor)
    memory.want(N2, tor, acceptances={tor.name: Acceptance(exact=frozenset(), words="unnamed")})
    for p in (N2, tor):
        memory.up(p)
    memory.learn(N2, attributes(), POD)
    memory.learn(tor, attributes("192.0.2.9", 65009), POD)
    memory.flush()
    ((_, found),) = routes(memory, rejected=True).items()
    assert (found["from"], found["why"]) == ("node/n9", "not-accepted")
    assert (found["nexthop"], found["reason"]) == ("192.0.2.9", "unnamed")


# --- nodes ------------------------------------------------------------------------------------------


def test_nodes_show_their_sessions_and_how_much_of_them_is_routed():
    memory = learned()
    found = {x["name"]: x for x in queries.nodes(*known(), memory.routing)}
    assert [found[x]["own"] for x in ("n1", "n2", "n3")] == [True, False, False]
    assert [(found[x]["established"], found[x]["sessions"]) for x in ("n2", "n3")] == [
        (1, 1),
        (0, 1),
    ]
    assert [found[x]["routed"] for x in ("n1", "n2", "n3")] == [1, 1, 0]


def test_a_refused_pod_cidr_is_named():
    observed, _ = known()
    thief = node(4, POD, "10.244.4.0/24")
    observed = replace(observed, nodes={**observed.nodes, "n4": thief})
    found = {x["name"]: x for x in queries.nodes(observed, plan(observed), learned().routing)}
    assert (found["n4"]["refusedPodCIDRs"], found["n2"]["refusedPodCIDRs"]) == ([POD], [])


# --- problems ---------------------------------------------------------------------------------------


def problems(memory: Listener, **desired: Any) -> list[str]:
    found = queries.problems(Desired(**desired), memory.routing, memory.now)
    return [f"{p.severity.value} {p.object} {p.field}: {p.reason}" for p in found]


def test_a_session_that_stays_down_is_a_problem_after_some_patience():
    memory = learned()
    memory.now = 9.0
    assert problems(memory) == []
    memory.now = 30.0
    assert problems(memory) == ["warning node/n3 session: not established for 30 s: connecting"]


def test_a_peer_over_its_limit_is_an_error():
    small = replace(N2, max_prefixes=1)
    memory = listener(small)
    memory.up(small)
    memory.learn(small, attributes(), "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24")
    assert problems(memory) == [
        "error node/n2 maxPrefixes: announced 2 prefixes over its limit of 1, which we ignore"
    ]


def test_faulty_updates_are_counted_and_the_last_one_named():
    memory = listener(N2)
    memory.up(N2)
    state = memory.routing.peers[N2.name]
    state.faults, state.last_fault = 3, "ORIGIN 7"
    assert problems(memory) == [
        "warning node/n2 update: 3 faulty UPDATEs (RFC 7606), last: ORIGIN 7"
    ]


def test_errors_come_before_warnings_and_the_plans_problems_are_among_them():
    memory = listener(N2)
    memory.up(N2)
    planned = (
        Problem(object="node/a", reason="x"),
        Problem(object="node/b", reason="y", severity=Severity.ERROR),
    )
    assert problems(memory, problems=planned) == ["error node/b : y", "warning node/a : x"]


# --- why --------------------------------------------------------------------------------------------


def test_the_story_of_a_pod_goes_from_its_node_to_the_kernel():
    found = why(learned(), "10.244.2.77/32")
    assert (found["prefix"], found["routed"]) == (POD, True)
    assert found["story"] == [
        f"node n2 owns {POD} (spec.podCIDRs)",
        f"{POD} from node/n2 via 192.0.2.2: used, the only eligible path",
        "installed with 1 next hop(s) from 1 path(s)",
    ]
    assert found["nexthops"] == [{"gateway": "192.0.2.2", "oif": 1, "weight": 1}]
    assert found["paths"][0]["why"] == "only-path"


def test_the_story_of_our_own_pod_ends_at_the_bridge():
    found = why(learned(), "10.244.1.9/32")
    assert found["story"][0] == "node n1 owns 10.244.1.0/24 (spec.podCIDRs)"
    assert "the kernel reaches it through the pod bridge" in found["story"][-1]


def test_the_story_ends_at_the_session_that_is_down():
    found = why(learned(), "10.244.3.9/32")
    assert not found["routed"]
    assert found["story"] == [
        "node n3 owns 10.244.3.0/24 (spec.podCIDRs)",
        "session node/n3 is down: connecting",
    ]


def test_the_story_ends_at_a_peer_that_has_not_announced_it():
    memory = learned()
    memory.up(N3)
    assert why(memory, "10.244.3.9/32")["story"][-1] == (
        "session node/n3 is up but it has not announced it"
    )


def test_the_story_of_what_nobody_knows_is_short():
    found = why(learned(), "203.0.113.1/32")
    assert found["story"] == [
        "no node of the inventory owns 203.0.113.1/32",
        "and no peer has announced a prefix that covers it",
    ]


def test_the_story_of_an_unreachable_next_hop_says_that_nothing_is_installed():
    memory = learned()
    memory.world(kernel(connected("198.51.100.0/24")))
    memory.flush()
    found = why(memory, POD)
    assert not found["routed"]
    assert "its next hop is not reachable" in found["story"][1]
    assert found["story"][-1] == "no path is usable: nothing is installed"


def test_the_longest_prefix_that_covers_is_the_one_told():
    memory = learned()
    memory.learn(N2, attributes(), "10.0.0.0/8", "0.0.0.0/0")
    memory.flush()
    assert why(memory, "10.244.2.9/32")["prefix"] == POD
    assert why(memory, "10.9.9.9/32")["prefix"] == "10.0.0.0/8"
    assert why(memory, "203.0.113.1/32")["prefix"] == "0.0.0.0/0"


def test_a_part_that_is_refused_does_not_hide_the_route_that_is_used():
    memory = learned()
    check = Checked(
        frozenset({N3.name}),
        {(V4, n("10.244.2.128/25")): OriginVerdict(OriginState.INVALID, THEFT, refused=True)},
    )
    memory.routing.set_origin_check(check)
    memory.up(N3)
    memory.learn(N3, attributes("192.0.2.3"), "10.244.2.128/25")
    memory.flush()
    found = why(memory, "10.244.2.200/32")
    assert (found["prefix"], found["routed"]) == (POD, True)
    assert found["story"][1] == (
        "10.244.2.128/25 from node/n3 via 192.0.2.3: not used, n2 owns it, says the test"
    )
    assert found["story"][2].startswith(f"{POD} from node/n2 via 192.0.2.2: used")
    assert [(p["prefix"], p["used"], p["origin"]) for p in found["paths"]] == [
        ("10.244.2.128/25", False, "invalid"),
        (POD, True, "unknown"),
    ]


def test_the_story_of_a_route_that_is_used_tells_what_the_origin_check_says():
    memory = learned()
    verdicts = {(V4, n(POD)): OriginVerdict(OriginState.INVALID, THEFT)}
    memory.routing.set_origin_check(Checked(frozenset({N2.name}), verdicts))
    memory.flush()
    assert (
        "the origin check calls it invalid: n2 owns it, says the test"
        in (why(memory, POD)["story"])
    )
    verdicts = {(V4, n(POD)): OriginVerdict(OriginState.VALID)}
    memory.routing.set_origin_check(Checked(frozenset({N2.name}), verdicts))
    memory.flush()
    assert why(memory, POD)["story"][2].startswith("the origin check calls it valid")


def test_of_two_claimants_the_story_names_the_one_who_owns_it():
    observed, _ = known()
    thief = node(0, POD, created="2026-02-01T00:00:00Z")
    observed = replace(observed, nodes={"n0": thief, **observed.nodes})
    found = queries.why(observed, plan(observed), learned().routing, ip_network(POD))
    assert found["story"][0] == f"node n2 owns {POD} (spec.podCIDRs)"


@pytest.mark.parametrize("order", [1, -1])
def test_losers_are_told_with_the_step_that_they_lost_by_whoever_came_first(order: int):
    memory = listener(N2, N3)
    for p in (N2, N3):
        memory.up(p)
    said = [(N2, attributes("192.0.2.2")), (N3, attributes("192.0.2.3", local_pref=50))]
    for p, found in said[::order]:
        memory.learn(p, found, POD)
    memory.flush()
    assert why(memory, POD)["story"][1:] == [
        f"{POD} from node/n3 via 192.0.2.3: not used, worse by local preference (highest wins)",
        f"{POD} from node/n2 via 192.0.2.2: used, the best path, last decided by "
        "local preference (highest wins)",
        "installed with 1 next hop(s) from 1 path(s)",
    ]


def test_two_families_are_two_stories():
    memory = learned()
    assert n(POD) in memory.routing.rib.loc[V4]
    assert why(memory, "fd00::1/128")["story"] == [
        "no node of the inventory owns fd00::1/128",
        "and no peer has announced a prefix that covers it",
    ]
