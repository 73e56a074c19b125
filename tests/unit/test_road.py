"""The road: sessions by name, frames of the right session only, faults that stay with their peer, messages in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kroute.codec.bgp import UpdateDecoder, end_of_rib, route_refresh
from kroute.daemon import road as module
from kroute.daemon.words import encode
from kroute.drivers.speaker import Attempt, Backlog, Down, Refresh, SpeakerDied, Updates
from kroute.model.bgp import PeerKind, SessionDown, Unknown
from kroute.plan.adj_out import Tell
from kroute.plan.policy import ExportRules
from support.daemon_road import Street, parameters, state
from support.routing import ASN, LOST, ME4, OWN_NEXTHOPS, V4, V6, attributes, n, packed, peer

N2, N3 = peer(2), peer(3)
NET, OTHER = "198.51.100.0/24", "203.0.113.0/24"


@pytest.fixture
def street() -> Street:
    return Street(N2, N3)


# --- sessions by name


def test_equal_sessions_are_left_alone(street: Street) -> None:
    before = dict(street.speaker.sessions)
    street.road.set_sessions(dict(street.wanted))
    assert street.speaker.sessions == before
    assert street.speaker.removed == []


def test_what_binds_only_the_next_open_is_told_without_a_new_session(street: Street) -> None:
    street.up(N2)
    index = street.index(N2)
    soft = parameters(N2, restarting=True, connect_retry=9.0)
    street.road.set_sessions(street.wanted | {N2.name: soft})
    assert street.speaker.sessions[index] == soft
    assert state(street, N2).established


def test_a_changed_session_gets_a_new_index_and_only_that_one(street: Street) -> None:
    street.up(N2)
    street.up(N3)
    street.happens(street.announces(N2, attributes(), NET))
    old, other = street.index(N2), street.index(N3)
    street.road.set_sessions(street.wanted | {N2.name: parameters(N2, hold_time=30)})
    assert street.speaker.removed == [(old, 6)]
    assert street.index(N2) not in (old, other)
    assert street.index(N3) == other
    assert state(street, N3).established
    assert not state(street, N2).established
    assert street.kernel() == {n(NET)}, "its paths stay until it is back"


def test_late_frames_of_a_replaced_session_are_not_the_new_ones(street: Street) -> None:
    street.up(N2)
    late = street.announces(N2, attributes(), NET)
    street.road.set_sessions(street.wanted | {N2.name: parameters(N2, hold_time=30)})
    street.up(N2)
    street.happens(late, Down(late.peer, LOST))
    assert street.kernel() == set()
    assert state(street, N2).established


def test_a_peer_that_must_have_no_session_now_keeps_its_paths_for_a_while(street: Street) -> None:
    street.up(N2)
    street.happens(street.announces(N2, attributes(), NET))
    index = street.index(N2)
    street.road.set_sessions({N3.name: street.wanted[N3.name]})
    assert street.speaker.removed == [(index, 3)]
    assert not state(street, N2).established, "nothing is told to a session that is not there"
    assert street.kernel() == {n(NET)}
    street.routing.tick(1000.0)
    street.road.flush()
    assert street.kernel() == set()


# --- frames


def test_updates_reach_the_kernel_and_counters(street: Street) -> None:
    street.up(N2)
    street.happens(
        street.announces(N2, attributes(), NET), street.announces(N2, attributes(), OTHER)
    )
    assert street.kernel() == {n(NET), n(OTHER)}
    assert state(street, N2).updates == 2
    assert street.fib.routes[V4][n(NET)][0].gateway == packed("192.0.2.2")


def test_updates_of_nobody_or_before_the_session_is_up_are_passed_over(street: Street) -> None:
    street.happens(Updates(99, [b"\0\0\0\0"]), street.announces(N2, attributes(), NET))
    street.happens(Down(99, LOST), Attempt(99, "refused"), Refresh(99, V4), Backlog(99, 5))
    assert street.kernel() == set()


def test_the_end_of_rib_in_an_update_is_taken_to_heart(street: Street) -> None:
    street.up(N2)
    street.happens(Updates(street.index(N2), [end_of_rib(f)[19:] for f in (V4, V6)]))
    assert state(street, N2).ended == {V4, V6}


def test_a_body_that_cannot_be_located_resets_the_session_and_nothing_more_is_read(
    street: Street,
) -> None:
    street.up(N2)
    street.up(N3)
    index = street.index(N2)
    street.happens(Updates(index, [b"\xff\xff"]), street.announces(N2, attributes(), NET))
    assert street.speaker.resets == [(index, 3, 1)]
    assert street.kernel() == set()
    assert state(street, N2).faults == 1
    street.happens(street.announces(N3, attributes("192.0.2.3"), OTHER))
    assert street.kernel() == {n(OTHER)}


def test_a_bug_that_one_peer_provokes_resets_that_peer_alone(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: object, _bodies: object) -> None:
        raise ZeroDivisionError

    street.up(N2)
    street.up(N3)
    good = street.announces(N3, attributes("192.0.2.3"), OTHER)
    index = street.index(N2)
    with monkeypatch.context() as patch:
        patch.setattr(UpdateDecoder, "decode_run", broken)
        street.happens(street.announces(N2, attributes(), NET))
    street.happens(good)
    assert street.speaker.resets == [(index, 3, 1)]
    assert "internal error" in state(street, N2).last_fault
    assert street.kernel() == {n(OTHER)}


def test_a_faulty_attribute_withdraws_and_is_counted(street: Street) -> None:
    street.up(N2)
    street.happens(street.announces(N2, attributes(), NET))
    bad = (
        street.announces(N2, attributes(), NET)
        .bodies[0]
        .replace(b"\x40\x01\x01\0", b"\x40\x01\x01\7")
    )
    street.happens(Updates(street.index(N2), [bad]))
    assert street.kernel() == set()
    assert state(street, N2).faults == 1
    assert "ORIGIN" in state(street, N2).last_fault


def test_what_the_speaker_says_of_a_session_is_kept_for_people(street: Street) -> None:
    index = street.index(N2)
    street.happens(Attempt(index, "connection refused"))
    assert state(street, N2).attempt == "connection refused"
    street.up(N2)
    assert state(street, N2).attempt == ""
    street.happens(Backlog(index, 5 << 20))
    assert state(street, N2).backlog == 5 << 20
    street.happens(Down(index, SessionDown(reason="hold timer expired")))
    assert state(street, N2).last_down.reason == "hold timer expired"


def test_a_peer_that_asks_again_is_told_all_again(street: Street) -> None:
    street.routing.set_originations([], True)
    street.up(N2)
    street.listener.originate("10.244.1.0/24")
    street.road.flush()
    told = street.speaker.sent[-1]
    street.happens(Refresh(street.index(N2), V4))
    assert street.speaker.sent[-1] == told


def test_when_the_speaker_dies_paths_stay_and_the_deferral_begins_anew(street: Street) -> None:
    street.routing.set_originations([], True)
    street.up(N2)
    street.happens(street.announces(N2, attributes(), NET))
    street.now = 1000.0
    assert street.routing.waiting_for(street.now) == []
    street.happens(Down(street.index(N2), LOST), SpeakerDied("killed"))
    assert street.kernel() == {n(NET)}
    assert not state(street, N2).established
    assert street.routing.waiting_for(street.now) != []
    assert street.routing.waiting_for(street.now + 61) == []


# --- held at the limit


def full(street: Street, **changes: object) -> None:
    """N2 announces five prefixes and is held at four."""
    small = replace(N2, max_prefixes=4)
    street.listener.want(small, N3)
    street.up(N2, **{"route_refresh": True, **changes})
    street.happens(street.announces(N2, attributes(), *(f"198.51.{i}.0/24" for i in range(5))))
    assert len(street.kernel()) == 4
    street.speaker.sent.clear()


def test_a_peer_held_at_its_limit_is_asked_again_once_it_leaves_room(street: Street) -> None:
    full(street)
    street.road.ask_again()
    assert street.speaker.sent == []
    street.listener.forget(N2, "198.51.0.0/24")
    street.road.ask_again()
    assert street.speaker.sent == [((street.index(N2),), route_refresh(V4))]
    assert state(street, N2).adj_in.over == {}


def test_it_is_asked_when_its_limit_was_raised(street: Street) -> None:
    full(street)
    street.listener.want(N2, N3)
    street.road.ask_again()
    assert len(street.speaker.sent) == 1


def test_it_is_not_asked_without_end(street: Street) -> None:
    full(street)
    street.listener.forget(N2, "198.51.0.0/24")
    street.road.ask_again()
    street.happens(street.announces(N2, attributes(), "198.51.0.0/24", "198.51.9.0/24"))
    street.listener.forget(N2, "198.51.0.0/24")
    street.now = module.ASK_AGAIN / 2
    street.road.ask_again()
    assert len([s for s in street.speaker.sent if s[1] == route_refresh(V4)]) == 1
    street.now = module.ASK_AGAIN
    street.road.ask_again()
    assert len([s for s in street.speaker.sent if s[1] == route_refresh(V4)]) == 2


def test_who_does_not_know_the_question_is_not_asked(street: Street) -> None:
    full(street, route_refresh=False)
    street.listener.forget(N2, "198.51.0.0/24")
    street.road.ask_again()
    assert street.speaker.sent == []
    assert state(street, N2).adj_in.over == {V4: 1}


# --- messages


RULES = ExportRules(
    kind=PeerKind.MESH,
    internal=True,
    local_asn=ASN,
    router_id=ME4.packed,
    cluster_id=b"",
    nexthops=tuple(OWN_NEXTHOPS.items()),
    extended_nexthop=False,
    asn4=True,
    message_size=4096,
)


def bodies(messages: bytes) -> list[bytes]:
    """The bodies of a row of messages."""
    found = []
    while messages:
        size = int.from_bytes(messages[16:18], "big")
        found.append(messages[19:size])
        messages = messages[size:]
    return found


def test_withdrawals_go_first_then_announcements_then_the_end() -> None:
    tell = Tell(peers=(N2.name,), rules=RULES, family=V4, end_of_rib=True)
    tell.withdrawn.append(n(OTHER))
    tell.announced.append((attributes(), [n(NET)]))
    first, second, third = bodies(encode(tell))
    assert first == b"\0\4" + n(OTHER) + b"\0\0"
    assert second.endswith(n(NET))
    assert third == b"\0\0\0\0"


def test_nothing_to_tell_is_no_message() -> None:
    assert encode(Tell(peers=(N2.name,), rules=RULES, family=V6)) == b""


def test_attributes_too_large_for_a_message_are_left_out_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    huge = attributes(unknown=(Unknown(flags=0xC0, code=99, value=b"x" * 4090),))
    tell = Tell(peers=(N2.name,), rules=RULES, family=V4)
    tell.announced += [(huge, [n(OTHER)]), (attributes(), [n(NET)])]
    assert [body[-4:] for body in bodies(encode(tell))] == [n(NET)]
    assert "not announced prefixes=1" in caplog.text


def test_only_sessions_that_are_up_are_told(street: Street) -> None:
    street.routing.set_originations([], True)
    street.up(N2)
    street.speaker.sent.clear()
    street.listener.originate("10.244.1.0/24")
    street.road.flush()
    assert {indexes for indexes, _ in street.speaker.sent} == {(street.index(N2),)}
