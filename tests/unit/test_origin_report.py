"""What the origin check found, counted: one problem for each peer and reason, however many prefixes."""

from __future__ import annotations

from ipaddress import ip_network

from kroute.model.net import nlri_of
from kroute.model.policies import OriginState
from kroute.model.problem import Problem, Severity
from kroute.model.reason import Reason, Why
from kroute.plan.origin_report import origin_problems, tally
from kroute.plan.policy import Acceptance, OriginVerdict
from support.routing import V4, V6, Checked, Listener, attributes, listener, n, peer, ruled

N2, N3 = peer(2), peer(3)
THEFT = Reason(Why.ORIGIN_HIJACK, "somebody owns it")
COVER = Reason(Why.ORIGIN_COVERING, "it covers what is somebody's")
MANY = [f"10.244.{i}.0/24" for i in range(1, 201)]


def leaking(*, refused: bool = True) -> Listener:
    """n2 announces 200 podCIDRs of others, one of IPv6, and what covers them; n3 announces its own."""
    stolen = OriginVerdict(OriginState.INVALID, THEFT, refused)
    verdicts = {(V4, n(p)): stolen for p in MANY}
    verdicts[V6, n("fd00:1::/64")] = stolen
    verdicts[V4, n("10.0.0.0/8")] = OriginVerdict(OriginState.INVALID, COVER, refused)
    verdicts[V4, n("10.245.3.0/24")] = OriginVerdict(OriginState.VALID)
    node = listener(N2, N3)
    node.routing.set_origin_check(Checked(frozenset({N2.name, N3.name}), verdicts))
    node.up(N2)
    node.up(N3)
    node.learn(N2, attributes(), *MANY[::-1], "10.0.0.0/8", "198.51.100.0/24")
    node.learn(N2, attributes("2001:db8::2"), "fd00:1::/64", family=V6)
    node.learn(N3, attributes("192.0.2.3"), "10.245.3.0/24")
    node.flush()
    return node


def problems(node: Listener) -> list[Problem]:
    return [p for state in node.routing.peers.values() for p in origin_problems(state)]


def test_two_hundred_prefixes_are_one_problem_with_three_examples():
    assert problems(leaking()) == [
        Problem(
            object="node/n2",
            field="origin",
            reason="1 prefix refused (origin-covering): 10.0.0.0/8. it covers what is somebody's",
            severity=Severity.WARNING,
        ),
        Problem(
            object="node/n2",
            field="origin",
            reason="201 prefixes refused (origin-hijack): 10.244.1.0/24, 10.244.2.0/24, "
            "10.244.3.0/24, …. somebody owns it",
            severity=Severity.ERROR,
        ),
    ]


def test_a_warning_says_that_the_prefixes_are_used():
    node = leaking(refused=False)
    assert all(
        "taken all the same, since originCheck.mode is warn" in p.reason for p in problems(node)
    )
    assert len(node.routes) == 203


def test_what_would_not_have_been_accepted_anyway_is_no_problem():
    node = leaking()
    nobody = Acceptance(exact=frozenset(), words="accept: none")
    node.routing.set_peers({N2.name: N2}, {N2.name: ruled(nobody)}, 0.0)
    node.flush()
    assert problems(node) == []
    (refused,) = node.routing.rib.rivals(V4, nlri_of(ip_network(MANY[0])))
    assert refused.refusal == nobody.refusal()
    assert refused.outcome.origin is OriginState.INVALID


def test_a_problem_goes_with_its_prefixes():
    node = leaking()
    node.forget(N2, *MANY, "10.0.0.0/8")
    node.forget(N2, "fd00:1::/64", family=V6)
    assert problems(node) == []


def test_paths_are_counted_by_state_and_reason():
    assert tally(leaking().routing) == {
        (OriginState.INVALID, "origin-hijack"): 201,
        (OriginState.INVALID, "origin-covering"): 1,
        (OriginState.VALID, ""): 1,
        (OriginState.UNKNOWN, ""): 1,
    }
