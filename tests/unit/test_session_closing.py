"""Sessions that we end of our own will: shut down with a text, or for a limit of prefixes that was exceeded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kroute.drivers.speaker import Down
from kroute.model.bgp import PeerName, SessionDown, SessionState
from kroute.model.state import Desired
from kroute.plan import queries
from kroute.plan.policy import UNRULED
from support.daemon_road import Street, parameters, state
from support.routing import attributes, n, peer

N2, N3 = peer(2), peer(3)
NETS = [f"198.51.{i}.0/24" for i in range(6)]


def configure(street: Street, changed: Any) -> None:
    """A peer's configuration is another one now."""
    wanted = {p.name: p for p in street.peers.values()} | {changed.name: changed}
    street.peers = dict(wanted)
    street.routing.set_peers(wanted, dict.fromkeys(wanted, UNRULED), street.now)
    sessions = {name: parameters(p) for name, p in wanted.items() if not p.shutdown}
    street.road.set_sessions(sessions)
    street.road.flush()


def problems(street: Street) -> dict[str, str]:
    found = queries.problems(Desired(), street.routing, street.now)
    return {f"{p.object} {p.field}": p.reason for p in found}


@pytest.fixture
def street() -> Street:
    street = Street(N2, N3)
    street.up(N2)
    street.up(N3)
    return street


def test_a_peer_is_shut_down_with_words_and_its_paths_go_at_once(street: Street) -> None:
    street.happens(street.announces(N2, attributes(), NETS[0]))
    index = street.index(N2)
    configure(street, replace(N2, shutdown="rack 4 moves"))
    assert street.speaker.removed == [(index, 2)]
    assert street.kernel() == set()
    found = state(street, N2)
    assert (found.state, found.is_closed) == (SessionState.IDLE, True)
    assert queries.peer_reason(found) == 'shut down by its configuration: "rack 4 moves"'
    assert state(street, N3).established


def test_who_is_shut_down_is_no_problem_and_not_waited_for(street: Street) -> None:
    configure(street, replace(N2, shutdown="rack 4 moves"))
    street.now += 1000
    assert "peer/n2 session" not in problems(street)
    assert not [p for p in problems(street) if p.startswith(N2.name)]
    assert not [w for w in street.routing.waiting_for(0.0) if w.startswith(N2.name)]


def test_a_peer_that_is_wanted_again_gets_a_new_session(street: Street) -> None:
    configure(street, replace(N2, shutdown="rack 4 moves"))
    configure(street, N2)
    street.up(N2)
    assert state(street, N2).established
    assert queries.peer_reason(state(street, N2)) == ""


def limited(street: Street, **changes: Any) -> Any:
    changed = replace(N2, max_prefixes=4, **changes)
    configure(street, changed)
    return changed


def test_who_nears_its_limit_is_warned_of(street: Street) -> None:
    limited(street, max_prefixes_warning=50)
    street.happens(street.announces(N2, attributes(), NETS[0]))
    assert problems(street) == {}
    street.happens(street.announces(N2, attributes(), NETS[1]))
    assert problems(street) == {
        f"{N2.name} maxPrefixesWarning": "announces 2 ipv4 prefixes, 50 % of its limit of 4"
    }


def test_who_exceeds_it_is_held_there_unless_told_otherwise(street: Street) -> None:
    limited(street)
    street.happens(street.announces(N2, attributes(), *NETS))
    assert state(street, N2).established
    assert len(street.kernel()) == 4
    assert (
        "2 prefixes over its limit of 4, which we ignore"
        in problems(street)[f"{N2.name} maxPrefixes"]
    )


def test_a_session_that_exceeds_it_is_closed_and_returns_when_its_time_is_over(
    street: Street,
) -> None:
    limited(street, max_prefixes_restart=30)
    index = street.index(N2)
    street.happens(street.announces(N2, attributes(), *NETS))
    assert street.speaker.removed[-1] == (index, 1)
    assert street.speaker.data[index] == b"\0\x01\x01\0\0\0\x04"
    assert street.kernel() == set()
    assert "stays down for 30 s more" in problems(street)[f"{N2.name} maxPrefixes"]
    assert "announced more than 4 ipv4 prefixes" in queries.peer_reason(state(street, N2))
    street.now += 29
    street.road.resume()
    street.road.set_sessions(street.wanted)
    assert len(street.speaker.sessions) == 1
    street.now += 2
    street.road.resume()
    assert state(street, N2).state is SessionState.CONNECT
    assert list(problems(street)) == [f"{N2.name} session"], "nothing is ignored without a session"
    street.up(replace(N2))
    street.happens(street.announces(N2, attributes(), NETS[0]))
    assert street.kernel() == {n(NETS[0])}
    assert problems(street) == {}


def test_a_raised_limit_ends_the_penalty(street: Street) -> None:
    limited(street, max_prefixes_restart=3600)
    street.happens(street.announces(N2, attributes(), *NETS))
    assert len(street.speaker.sessions) == 1
    configure(street, replace(N2, max_prefixes=10, max_prefixes_restart=3600))
    assert len(street.speaker.sessions) == 2
    assert state(street, N2).down_until is None


def test_late_words_of_a_closed_session_change_nothing(street: Street) -> None:
    index = street.index(N2)
    late = street.announces(N2, attributes(), NETS[0])
    configure(street, replace(N2, shutdown="x"))
    street.happens(late, Down(index, SessionDown(reason="late")))
    assert street.kernel() == set()
    assert street.routing.peers[PeerName(N2.name)].last_down.reason.startswith("shut down")  # type: ignore[union-attr]
