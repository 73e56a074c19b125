"""What BIRD, FRR and GoBGP really send (``tests/support/record_bgp.py``) decodes to what was announced to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kroute.codec.bgp import Decoded, encode_updates
from kroute.model.bgp import AsSegment, Attributes, SegmentType
from support.bgp_bytes import V4, V6, address, decoder, nlri, rib_of
from support.bgp_cases import GONE, Case
from support.bgp_peers import ASN, DAEMON
from support.record_bgp import DATA, RECORDINGS, Recording, cases_for, read

FILES = sorted(DATA.glob("*.hex"))
PROGRAMS = {"bird": "BIRD", "frr": "bgpd", "gobgp": "gobgpd"}


def taken_apart(file: Path) -> tuple[str, Recording]:
    """Program and kind of a recording."""
    program, _, kind = file.stem.partition("-")
    return program, RECORDINGS[kind]


def decoded(file: Path) -> Decoded[Attributes]:
    """All that a recording says."""
    _, recording = taken_apart(file)
    reader = decoder(
        asn4=recording.asn4,
        internal=recording.setup.listener_asn == ASN,
        extended_nexthop=recording.setup.extended_nexthop,
    )
    return reader.decode_run(read(file))


def expected(case: Case, program: str, recording: Recording) -> Attributes:
    """The attributes as a reflector, or a border router, of that make passes them on."""
    given = case.attributes
    self_hop = address(DAEMON[6]) if case.family is V6 else given.nexthop
    if recording.setup.listener_asn != ASN:
        first, *rest = given.as_path or (AsSegment(SegmentType.AS_SEQUENCE, ()),)
        path = (AsSegment(first.type, (ASN, *first.asns)), *rest)
        hop = self_hop if program == "frr" else given.nexthop
        if program == "gobgp":
            mapped = bytes(10) + b"\xff\xff" if case.family is V6 else b""
            hop = mapped + address(DAEMON[4])
        return replace(given, as_path=path, nexthop=hop, local_pref=None, med=None)
    if program == "frr":
        given = replace(given, med=given.med or 0)
        if recording.setup.version == 6 and len(given.nexthop) == 4:
            given = replace(given, nexthop=address(DAEMON[6]))
    return replace(given, originator_id=address("192.0.2.11"), cluster_list=(address("192.0.2.1"),))


def test_every_program_and_every_kind_of_session_was_recorded():
    wanted = {f"{program}-{kind}" for program in PROGRAMS for kind in RECORDINGS}
    assert {file.stem for file in FILES} == wanted


each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@each_file
def test_a_recording_says_who_wrote_it(file):
    assert PROGRAMS[taken_apart(file)[0]] in file.read_text().splitlines()[0]


@each_file
def test_all_attributes_arrive_as_they_were_announced(file):
    program, recording = taken_apart(file)
    announced = {}
    for family, path, nlris in decoded(file).steps:
        if path is not None:
            announced.update({(family, n): path for n in nlris})
    assert announced == {
        (case.family, nlri(case.prefix)): expected(case, program, recording)
        for case in cases_for(recording.setup).values()
    }


@each_file
def test_exactly_the_withdrawn_routes_are_gone_at_the_end(file):
    cases = cases_for(taken_apart(file)[1].setup)
    left = {(c.family, nlri(c.prefix)) for name, c in cases.items() if name not in GONE}
    assert set(rib_of([decoded(file)])) == left


@each_file
def test_nothing_is_wrong_and_both_tables_are_complete(file):
    result = decoded(file)
    assert not result.problems
    assert not result.refused
    assert sorted(result.end_of_rib) == [V4, V6]


@each_file
@pytest.mark.parametrize("asn4", [True, False])
def test_what_was_read_can_be_written_and_read_again(file, asn4):
    for (family, key), path in rib_of([decoded(file)]).items():
        messages = encode_updates(family, path, [key], asn4=asn4, message_size=4096)
        again = decoder(asn4=asn4).decode_run([m[19:] for m in messages])
        assert rib_of([again]) == {(family, key): path}
