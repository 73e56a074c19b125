"""What was tried with which program: the rows of the table in docs/peering.md, each of them a test.

A test that is a row here is parametrised by the programs which the row says can do it (:func:`tried`, or an equal list
of ids of its own), and ``tests/unit/test_matrix_docs.py`` holds rows, tests and page equal. So a "yes" of the page is a
test that runs, and a "no" has its reason, found by trying.

    python tests/support/matrix.py      writes the table into docs/peering.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "peering.md"
BEGIN, END = "<!-- matrix: tests/support/matrix.py -->\n", "<!-- end of the matrix -->\n"
TITLES = {
    "bird": "BIRD",
    "frr": "FRR",
    "gobgp": "GoBGP",
    "openbgpd": "OpenBGPD",
    "kroute": "kroute",
}
PROGRAMS = (*TITLES,)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was tried."""

    what: str
    """Words for the page."""
    test: str
    """``FILE::FUNCTION`` below tests/interop, without ``test_`` and ``.py`` of the file."""
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Programs that cannot, or do it otherwise, with the reason; the test leaves them out."""
    untried: Mapping[str, str] = field(default_factory=dict)
    """Programs that the test leaves out for another reason: tried elsewhere, or nowhere."""
    but: Mapping[str, str] = field(default_factory=dict)
    """Programs that can, with what must be known to have it."""

    @property
    def programs(self) -> tuple[str, ...]:
        """Those with which the test runs."""
        return tuple(p for p in PROGRAMS if p not in self.cannot and p not in self.untried)

    @property
    def function(self) -> str:
        return self.test.partition("::")[2]


_LOCALHOST = (
    "OpenBGPD 7.7 of Debian 12 announces the other family of a session with the next hop ::1, which kroute refuses as"
    " its own; give it a session for each family"
)

_RESETS = "it starts its session again; two kroutes go on without a flap"
_FRR_RESTART = (
    "with `bgp graceful-restart preserve-fw-state`; and with `bgp route-map delay-timer 0` where a route-map guards"
    " what it tells, or it says End-of-RIB 5 s before its routes"
)

ROWS: tuple[Row, ...] = (
    Row(
        what="IPv4 and IPv6 over one IPv4 session, announced and learned, AS numbers of four octets",
        test="test_matrix::test_both_families_travel_both_ways_over_one_session",
        cannot={"openbgpd": _LOCALHOST},
    ),
    Row(
        what="internal and external sessions, routes both ways, withdrawn both ways",
        test="test_daemon_peers::test_routes_of_both_families_go_both_ways_and_are_withdrawn",
        untried={"kroute": "internal: every lab with a mesh; external: the row above and the next"},
        but={"gobgp": "a session for each family", "openbgpd": "a session for each family"},
    ),
    Row(
        what="over a router: a key each; IPv4 with GTSM over two hops, IPv6 with multihop",
        test="test_matrix_routed::test_two_sessions_over_a_router_carry_a_family_each",
    ),
    Row(
        what="another key than ours: both sessions stay down, and kroute says so",
        test="test_matrix_routed::test_another_key_than_the_neighbour_s_keeps_both_sessions_down",
    ),
    Row(
        what="another key at both ends while sessions run",
        test="test_matrix_routed::test_a_key_that_changes_at_both_ends_carries_what_comes_then",
        cannot={
            "gobgp": "a reload (SIGHUP) after the keys of two neighbours had changed took over one of them",
            "openbgpd": "`bgpctl reload` leaves running sessions with the old key",
        },
        but={"bird": _RESETS, "frr": _RESETS},
    ),
    Row(
        what="IPv4 with IPv6 next hops over an IPv6 session, both ways (RFC 8950)",
        test="test_matrix_ipv6::test_ipv4_travels_both_ways_with_ipv6_next_hops",
        cannot={"openbgpd": "OpenBGPD 7.7 does not offer the capability"},
        but={
            "gobgp": "GoBGP installs nothing in a kernel; its routes were told with an IPv6 next hop by hand"
        },
    ),
    Row(
        what="found at the other end of a cable (unnumbered), both families",
        test="test_unnumbered_peers::test_frr_and_bird_are_found_at_the_ends_of_cables_and_carry_both_families",
        cannot={"openbgpd": "OpenBGPD 7.7 has no unnumbered neighbours"},
        untried={
            "gobgp": "not tried",
            "kroute": "kroute is the node's end of a cable; nodes have addresses for each other",
        },
    ),
    Row(
        what="the neighbour is passive",
        test="test_matrix_ipv6::test_a_neighbour_that_waits_is_connected_to",
    ),
    Row(
        what="kroute is passive",
        test="test_matrix::test_a_neighbour_connects_to_a_node_that_waits",
        but={
            "frr": 'a helper of graceful restart ("NSF passive") waits to be connected to: after a restart of a passive'
            " kroute both wait until the restart time is over",
            "openbgpd": "refused once, it waits for 120 s before it connects again",
        },
    ),
    Row(
        what="a key, GTSM and a hold time of 9 s on a direct session; capabilities side by side",
        test="test_daemon_sessions::test_a_guarded_session_comes_up_and_words_go_both_ways",
        untried={
            "kroute": "key and GTSM: over a router, above; two kroutes rotate keys and timers in their own test"
        },
    ),
    Row(
        what="communities (standard, large, extended), set by policies there and matched here, and the other way round",
        test="test_matrix::test_communities_of_each_kind_go_both_ways_and_policies_see_them",
    ),
    Row(
        what="the words of `shutdown` are read there (RFC 9003)",
        test="test_matrix::test_our_words_at_a_shutdown_are_read_there",
        but={"frr": "in its log, with `bgp log-neighbor-changes`", "gobgp": "in its log"},
    ),
    Row(
        what="words of a shutdown there are read here",
        test="test_matrix::test_words_of_a_shutdown_there_are_read_here",
        but={"gobgp": "`gobgp neighbor … shutdown --reason`; `disable --reason` sends no words"},
    ),
    Row(
        what="over our limit of prefixes: closed (Cease 6/1), and back after `maxPrefixesRestart`",
        test="test_matrix::test_a_peer_over_our_limit_is_closed_out_and_comes_back",
        but={
            "openbgpd": "after a NOTIFICATION it stays idle for 30 s and longer, unless told `bgpctl neighbor … up`"
        },
    ),
    Row(
        what="over its limit: what it says is understood",
        test="test_matrix::test_a_neighbour_that_takes_no_more_prefixes_is_understood",
    ),
    Row(
        what="several paths to a prefix from one router (add-path) share the traffic",
        test="test_daemon_sessions::test_all_paths_that_a_router_knows_share_the_traffic",
        untried={"gobgp": "not tried", "openbgpd": "not tried", "kroute": "not tried"},
    ),
    Row(
        what="several paths to a prefix from kroute (add-path send), also while kroute restarts",
        test="test_add_path_send::test_a_client_takes_every_path_and_keeps_them_while_the_reflector_restarts",
        untried={"openbgpd": "not tried", "kroute": "in a test of its own"},
    ),
    Row(
        what="kroute is ended (SIGTERM) and started: the neighbour keeps its routes, the kernel all others'",
        test="test_matrix::test_a_neighbour_keeps_our_routes_while_kroute_is_ended_and_started",
    ),
    Row(
        what="kroute is killed and started: the same",
        test="test_matrix::test_a_neighbour_keeps_our_routes_while_kroute_is_killed_and_started",
    ),
    Row(
        what="kroute's speaker is killed: the same, and the daemon goes on",
        test="test_matrix::test_a_killed_speaker_costs_the_session_and_no_route_on_either_side",
    ),
    Row(
        what="the neighbour is killed: its routes stay until it is back (RFC 4724)",
        test="test_matrix::test_routes_of_a_neighbour_that_is_killed_stay_until_it_is_back",
        cannot={
            "openbgpd": "its other processes say goodbye (Cease 6/2) when one is killed: the routes go at once"
        },
        but={"frr": _FRR_RESTART},
    ),
    Row(
        what="the neighbour restarts in good order: the same",
        test="test_matrix::test_routes_of_a_neighbour_that_leaves_for_a_restart_stay_until_it_is_back",
        cannot={
            "gobgp": "says goodbye (Cease 6/3) at SIGTERM: its routes go at once, and return",
            "openbgpd": "says goodbye (Cease 6/2) at SIGTERM: its routes go at once, and return",
        },
        but={
            "bird": "`birdc graceful restart`; at SIGTERM it says goodbye (Cease 6/2), and its routes go",
            "frr": _FRR_RESTART,
        },
    ),
    Row(
        what="podCIDRs announced from outside (hijack, more-specific, covering) are refused and told of",
        test="test_matrix::test_what_the_cluster_owns_is_refused_from_outside_and_says_so",
        but={"kroute": "hijacks only: podCIDRs of one kroute cannot overlap"},
    ),
    Row(
        what="as our reflector: truth is valid by its next hop or ORIGINATOR_ID, lies behind it are refused",
        test="test_matrix_reflected::test_a_reflector_passes_on_the_truth_and_lies_and_kroute_tells_them_apart",
        untried={"kroute": "refuses a lie before it reflects it: lab leak-protection"},
    ),
)


def tried(function: Any) -> Any:
    """Parametrise a test by the programs of its row, as ``program``."""
    import pytest

    (row,) = [row for row in ROWS if row.function == function.__name__]
    return pytest.mark.parametrize("program", row.programs)(function)


def table() -> str:
    """The table as the page has it, its notes below."""
    notes: dict[str, int] = {}
    numbers = count(1)

    def cell(row: Row, program: str) -> str:
        note = (dict(row.cannot) | dict(row.untried) | dict(row.but)).get(program)
        word = "no" if program in row.cannot else "–" if program in row.untried else "yes"
        if not note:
            return word
        if note not in notes:
            notes[note] = next(numbers)
        return f"{word} [{notes[note]}]"

    lines = ["| tried | " + " | ".join(TITLES.values()) + " |", "|---" * 6 + "|"]
    for row in ROWS:
        lines.append(f"| {row.what} | " + " | ".join(cell(row, p) for p in PROGRAMS) + " |")
    remarks = [f"{number}. {note}" for note, number in notes.items()]
    return "\n".join([*lines, "", *remarks]) + "\n"


def with_table(page: str) -> str:
    """A page with the table of today between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
