"""Which problems are told as Events, and that each is told once."""

from __future__ import annotations

from kroute.model.problem import Problem, Severity
from kroute.plan.notices import (
    FORGET,
    LONGEST_MESSAGE,
    SPREAD,
    STEADY,
    Ledger,
    Notice,
    notices,
)

PODS = Problem(object="node/n3", field="spec.podCIDRs", reason="10.0.0.0/9 is too wide")
THEFT = Problem(object="node/n3", field="origin", reason="theft", severity=Severity.ERROR)


def only(*problems: Problem) -> Notice:
    (found,) = notices(problems, "n1")
    return found


def test_a_problem_of_a_node_is_told_of_the_node():
    found = only(PODS)
    assert (found.kind, found.namespace, found.name) == ("Node", "", "n3")
    assert (found.reason, found.message) == (
        "SpecPodCIDRs",
        "spec.podCIDRs: 10.0.0.0/9 is too wide",
    )
    assert not found.own
    assert notices([PODS], "n3")[0].own


def test_a_problem_of_a_service_is_told_of_the_service():
    found = only(Problem(object="service/shop/web", field="ranges", reason="not allowed"))
    assert (found.kind, found.namespace, found.name, found.reason) == (
        "Service",
        "shop",
        "web",
        "Ranges",
    )


def test_what_an_outside_peer_claims_is_told_of_the_own_node():
    leak = Problem(object="peer/tor", field="origin", reason="a leak")
    found = only(leak)
    assert (found.name, found.own, found.message) == ("n1", True, "peer/tor: a leak")


def test_full_ranges_of_pod_addresses_are_told_of_the_own_node():
    full = [
        Problem(object=f"range/{prefix}", field="addresses.exhausted", reason="full")
        for prefix in ("10.244.1.0/24", "fd00:10:244:1::/126")
    ]
    found = only(*full)
    assert (found.kind, found.name, found.own) == ("Node", "n1", True)
    assert (found.reason, found.message) == (
        "AddressesExhausted",
        "range/10.244.1.0/24: full; range/fd00:10:244:1::/126: full",
    )


def test_what_is_no_objects_fault_is_not_told():
    quiet = [
        Problem(object="node/n3", field="session", reason="not established for 12 s"),
        Problem(object="node/n3/ipv6", field="update", reason="3 faulty UPDATEs"),
        Problem(object="node/?", field="metadata.name", reason="no name of a node"),
        Problem(object="peer/tor", field="session", reason="down"),
        Problem(object="file/nodes.yaml", reason="broken"),
        Problem(object="inventory", reason="away"),
    ]
    assert notices(quiet, "n1") == ()


def test_problems_of_one_object_and_field_are_one_notice_the_worst_first():
    more = Problem(object="node/n3/ipv6", field="origin", reason="a warning")
    found = only(more, THEFT)
    assert found.message == "origin: theft; origin: a warning"
    many = [Problem(object="node/n3", field="origin", reason="x" * 90 + str(i)) for i in range(50)]
    assert len(only(*many).message) == LONGEST_MESSAGE


def test_all_nodes_give_one_thing_one_name_whatever_the_words():
    other = Problem(object="node/n3", field="spec.podCIDRs", reason="in other words")
    assert notices([PODS], "n1")[0].id == notices([other], "n2")[0].id
    assert only(PODS).id != only(THEFT).id
    assert only(PODS).id.startswith("n3.")


def test_what_concerns_the_own_node_is_told_at_once_and_once():
    ledger, mine = Ledger("n3"), notices([PODS], "n3")
    assert ledger.due(mine, 0.0) == list(mine)
    assert ledger.due(mine, 10.0) == list(mine), "until it has been told"
    ledger.told(mine[0])
    for now in range(20, 50_000, 1000):
        assert ledger.due(mine, float(now)) == []


def test_what_concerns_others_waits_for_each_nodes_own_time():
    waits = set()
    for me in ("n1", "n2", "n4", "n5"):
        ledger, found = Ledger(me), notices([PODS], me)
        assert ledger.due(found, 0.0) == []
        last = int(STEADY + SPREAD) + 1
        waits.add(next(t for t in range(last + 1) if ledger.due(found, float(t))))
    assert min(waits) >= STEADY
    assert len(waits) > 1


def test_a_problem_that_comes_back_is_news_only_after_an_hour():
    ledger, mine = Ledger("n3"), notices([PODS], "n3")
    ledger.told(ledger.due(mine, 0.0)[0])
    assert ledger.due([], 10.0) == []
    assert ledger.due(mine, FORGET - 1) == [], "it flaps"
    assert ledger.due([], 2 * FORGET) == []
    assert ledger.due(mine, 2 * FORGET + 1) == list(mine)
