"""Bodies and what they say: tables of octets against steps, and the cache's promises."""

from __future__ import annotations

from struct import pack

import pytest

from kroute.codec.bgp import UpdateDecoder, UpdateError
from kroute.model.bgp import Attributes, Origin
from kroute.model.net import Family
from support.bgp_bytes import (
    AS_PATH,
    LOCAL_PREF,
    MANDATORY,
    NEXT_HOP,
    ORIGIN,
    V4,
    V6,
    address,
    announcement,
    attribute,
    body,
    decoder,
    negotiated,
    nlri,
    only_attributes,
    reach,
    sequence,
    unreach,
)

GLOBAL, LOCAL = address("2001:db8::7"), address("fe80::7")


def test_one_announced_prefix_is_one_step_with_its_attributes():
    result = decoder().decode(announcement(MANDATORY + LOCAL_PREF))
    ((family, attributes, nlris),) = result.steps
    assert (family, nlris) == (V4, [nlri("10.1.0.0/16")])
    assert attributes == Attributes(
        origin=Origin.IGP,
        as_path=attributes.as_path,
        nexthop=address("192.0.2.7"),
        local_pref=100,
    )
    assert attributes.as_path[0].asns == (64513,)
    assert not result.problems


def test_withdrawn_comes_before_announced_so_that_a_prefix_in_both_stays():
    same = nlri("10.1.0.0/16")
    result = decoder().decode(body(withdrawn=same, attributes=MANDATORY, announced=same))
    assert [(step[1] is None, step[2]) for step in result.steps] == [
        (True, [same]),
        (False, [same]),
    ]


def test_many_prefixes_of_mixed_lengths_keep_their_order():
    texts = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "10.1.2.0/23", "10.1.2.3/32", "128.0.0.0/1"]
    field = b"".join(map(nlri, texts))
    (step,) = decoder().decode(body(attributes=MANDATORY, announced=field)).steps
    assert step[2] == [nlri(t) for t in texts]


@pytest.mark.parametrize(
    "spelled, meant",
    [
        (b"\x17\x0a\x01\xff", "10.1.254.0/23"),
        (b"\x01\xff", "128.0.0.0/1"),
        (b"\x1f\x0a\x00\x00\x01", "10.0.0.0/31"),
    ],
)
def test_unused_bits_do_not_make_another_prefix(spelled, meant):
    for field in (spelled, spelled + nlri("192.0.2.0/24")):
        result = decoder().decode(body(attributes=MANDATORY, announced=field, withdrawn=field))
        assert [step[2][0] for step in result.steps] == [nlri(meant)] * 2


class TestRuns:
    def test_equal_blocks_become_the_identical_object(self):
        run = decoder().decode_run([announcement(MANDATORY, f"10.{i}.0.0/16") for i in range(5)])
        assert len(run.steps) == 1
        later = decoder()
        first = only_attributes(later.decode(announcement(MANDATORY)))
        assert only_attributes(later.decode(announcement(MANDATORY, "10.7.0.0/16"))) is first

    def test_a_block_is_made_once_for_all_its_routes(self):
        made = []
        reader = UpdateDecoder(
            negotiated(), internal=True, make=lambda family, a: made.append((family, a)) or made[-1]
        )
        reader.decode_run([announcement(MANDATORY, f"10.{i}.0.0/16") for i in range(9)])
        reader.decode(body(attributes=MANDATORY, announced=nlri("10.0.0.0/8") + nlri("11.0.0.0/8")))
        assert [family for family, _ in made] == [V4]

    def test_order_is_kept_between_announcing_and_withdrawing(self):
        prefix = nlri("10.1.0.0/16")
        run = decoder().decode_run(
            [announcement(MANDATORY), body(withdrawn=prefix), announcement(MANDATORY)]
        )
        assert [step[1] is None for step in run.steps] == [False, True, False]

    def test_a_multiprotocol_block_is_known_again_whatever_its_routes(self):
        reader = decoder()
        rest = ORIGIN + AS_PATH
        one = reach(2, GLOBAL, nlri("2001:db8::/32")) + rest
        two = reach(2, GLOBAL, nlri("2001:db8::/48") + nlri("2001:db8:1::/48")) + rest
        last = rest + reach(2, GLOBAL, nlri("::/0"))
        paths = {id(only_attributes(reader.decode(body(attributes=b)))) for b in (one, two, last)}
        assert len(paths) == 1

    def test_blocks_with_their_routes_in_one_place_but_other_headers_are_not_mistaken(self):
        reader, told = decoder(), [nlri(f"2001:db8:{i}::/48") for i in range(3)]
        rest, far = ORIGIN + AS_PATH, ORIGIN + AS_PATH + attribute(6, b"")
        both = GLOBAL + address("fe80::1")
        for place, key in enumerate(told):
            for block in (reach(2, both, key) + rest, far + reach(2, GLOBAL, key)):
                (step,) = reader.decode(body(attributes=block)).steps
                assert (step[0], step[2]) == (V6, [key]), place
        two = far + reach(2, GLOBAL, told[0] + told[1])
        reader.decode(body(attributes=two))
        with pytest.raises(UpdateError):
            reader.decode(body(attributes=two[: -len(told[1])]))

    def test_the_cache_forgets_what_was_not_seen_for_long(self):
        made = []
        reader = UpdateDecoder(
            negotiated(), internal=True, make=lambda _, a: made.append(a) or a, cached_blocks=4
        )
        for number in range(100):
            reader.decode(announcement(MANDATORY + attribute(4, pack(">I", number))))
            reader.decode(announcement(MANDATORY))  # always in use: never made again
        assert len(made) == 101
        assert len(reader._young) + len(reader._old) <= 8

    def test_an_error_in_a_run_is_the_sessions_end(self):
        with pytest.raises(UpdateError):
            decoder().decode_run([announcement(MANDATORY), b"\0\0\0"])


class TestMultiprotocol:
    @pytest.mark.parametrize(
        "nexthop, stored, link_local",
        [
            (GLOBAL, GLOBAL, b""),
            (GLOBAL + LOCAL, GLOBAL, LOCAL),
            (LOCAL, LOCAL, b""),
            (bytes(16) + LOCAL, LOCAL, b""),
            (LOCAL + LOCAL, LOCAL, b""),
            (GLOBAL + GLOBAL, GLOBAL, b""),
        ],
    )
    def test_ipv6_next_hops_of_rfc_2545(self, nexthop, stored, link_local):
        block = reach(2, nexthop, nlri("2001:db8::/32")) + ORIGIN + AS_PATH
        result = decoder().decode(body(attributes=block))
        attributes = only_attributes(result)
        assert (attributes.nexthop, attributes.link_local) == (stored, link_local)
        assert result.steps[0][0] is V6

    def test_ipv4_routes_with_an_ipv6_next_hop_if_rfc_8950_was_negotiated(self):
        block = reach(1, GLOBAL + LOCAL, nlri("10.0.0.0/8")) + ORIGIN + AS_PATH
        result = decoder().decode(body(attributes=block))
        assert (result.steps[0][0], only_attributes(result).nexthop) == (V4, GLOBAL)

    def test_without_rfc_8950_such_routes_are_withdrawn(self):
        block = reach(1, GLOBAL, nlri("10.0.0.0/8")) + ORIGIN + AS_PATH
        result = decoder(extended_nexthop=False).decode(body(attributes=block))
        assert result.steps == [(V4, None, [nlri("10.0.0.0/8")])]
        assert "8950" in result.refused[0][2].reason

    def test_ipv4_routes_may_come_in_mp_reach_with_an_ipv4_next_hop(self):
        block = reach(1, address("192.0.2.9"), nlri("10.0.0.0/8")) + ORIGIN + AS_PATH
        result = decoder(extended_nexthop=False).decode(body(attributes=block))
        assert only_attributes(result).nexthop == address("192.0.2.9")

    def test_one_update_may_carry_both_families(self):
        block = MANDATORY + reach(2, GLOBAL, nlri("2001:db8::/32"))
        result = decoder().decode(body(attributes=block, announced=nlri("10.0.0.0/8")))
        hops = {family: path.nexthop for family, path, _ in result.steps}
        assert hops == {V4: address("192.0.2.7"), V6: GLOBAL}

    def test_next_hop_beside_mp_reach_is_ignored_even_if_it_is_wrong(self):
        block = reach(2, GLOBAL, nlri("2001:db8::/32")) + ORIGIN + AS_PATH + attribute(3, b"\0")
        result = decoder().decode(body(attributes=block))
        assert not result.problems
        assert only_attributes(result).nexthop == GLOBAL

    def test_wrong_flags_are_noticed_also_where_the_same_block_is_known(self):
        reader = decoder()
        good = reach(2, GLOBAL, nlri("2001:db8::/32")) + ORIGIN + AS_PATH
        for block, withdrawn in ((good, False), (b"\xc0" + good[1:], True)):
            (step,) = reader.decode(body(attributes=block)).steps
            assert (step[1] is None) == withdrawn

    def test_a_reach_without_prefixes_is_no_step(self):
        reader = decoder()
        for _ in range(2):
            result = reader.decode(body(attributes=reach(2, GLOBAL, b"") + ORIGIN + AS_PATH))
            assert (result.steps, result.problems, result.end_of_rib) == ([], {}, [])

    def test_ipv4_may_be_withdrawn_beside_known_ipv6_routes(self):
        reader = decoder()
        block = reach(2, GLOBAL, nlri("::/0")) + ORIGIN + AS_PATH
        alone = only_attributes(reader.decode(body(attributes=block)))
        steps = reader.decode(body(withdrawn=nlri("10.0.0.0/8"), attributes=block)).steps
        assert [(f, n) for f, _, n in steps] == [(V4, [nlri("10.0.0.0/8")]), (V6, [nlri("::/0")])]
        assert steps[0][1] is None
        assert steps[1][1] is alone

    def test_withdrawals_need_no_other_attribute(self):
        result = decoder().decode(body(attributes=unreach(2, nlri("2001:db8::/32"))))
        assert result.steps == [(V6, None, [nlri("2001:db8::/32")])]

    def test_routes_withdrawn_and_announced_at_once(self):
        block = (
            unreach(2, nlri("2001:db8::/32")) + reach(2, GLOBAL, nlri("::/0")) + ORIGIN + AS_PATH
        )
        steps = decoder().decode(body(attributes=block)).steps
        assert [(f, p is None) for f, p, _ in steps] == [(V6, True), (V6, False)]

    @pytest.mark.parametrize(
        "block",
        [
            reach(2, GLOBAL, nlri("2001:db8::/32")) + ORIGIN + AS_PATH,
            reach(25, b"\1\2\3\4", b"xyz") + ORIGIN + AS_PATH,
            reach(1, b"\1\2\3\4", nlri("10.0.0.0/8"), safi=128) + ORIGIN + AS_PATH,
            unreach(2, nlri("2001:db8::/32")),
            unreach(1, b"xyz", safi=4),
        ],
    )
    def test_families_that_were_not_negotiated_are_ignored(self, block):
        result = decoder(families=(V4,)).decode(body(attributes=block))
        assert not result.steps
        assert "not negotiated" in str(*result.problems)

    def test_ipv4_routes_on_a_session_for_ipv6_only_are_ignored(self):
        result = decoder(families=(V6,)).decode(announcement(MANDATORY))
        assert not result.steps
        assert "ipv4 unicast was not negotiated" in str(*result.problems)


class TestEndOfRib:
    def test_an_empty_update_ends_the_ipv4_table(self):
        assert decoder().decode(body()).end_of_rib == [V4]

    @pytest.mark.parametrize("family", Family)
    def test_an_empty_mp_unreach_ends_the_table_of_its_family(self, family):
        result = decoder().decode(body(attributes=unreach(family, b"")))
        assert result.end_of_rib == [family]
        assert not result.steps

    def test_an_extended_length_makes_no_difference(self):
        wide = attribute(15, b"\0\2\1", wide=True)
        assert decoder().decode(body(attributes=wide)).end_of_rib == [V6]

    def test_an_empty_mp_unreach_beside_routes_ends_nothing(self):
        block = MANDATORY + unreach(2, b"")
        result = decoder().decode(body(attributes=block, announced=nlri("10.0.0.0/8")))
        assert not result.end_of_rib
        assert len(result.steps) == 1


class TestReset:
    """RFC 7606 leaves the reset of the session only where routes cannot be located."""

    @pytest.mark.parametrize(
        "data, subcode",
        [
            (b"", 1),
            (b"\0", 1),
            (b"\0\0\0", 1),
            (b"\0\5\0\0", 1),
            (b"\0\0\0\5", 1),
            (body(withdrawn=b"\x18\x0a"), 10),
            (body(withdrawn=b"\x21\x0a\0\0\0\0"), 10),
            (body(attributes=MANDATORY, announced=b"\x18\x0a"), 10),
            (body(attributes=MANDATORY, announced=b"\x21\x0a\0\0\0\0"), 10),
            (body(attributes=MANDATORY, announced=nlri("10.0.0.0/8") + b"\xff"), 10),
            (body(attributes=reach(2, GLOBAL, b"\x81" + bytes(17)) + ORIGIN + AS_PATH), 10),
            (body(attributes=unreach(2, b"\x40\x20")), 10),
            (body(attributes=reach(2, GLOBAL, b"") * 2), 1),
            (body(attributes=unreach(2, b"") * 2), 1),
            (body(attributes=attribute(14, b"\0\2\1") + ORIGIN + AS_PATH), 9),
            (body(attributes=attribute(15, b"\0\2")), 9),
            (body(attributes=attribute(14, b"\0\2\1\x10\0") + ORIGIN + AS_PATH), 9),
            (body(attributes=reach(2, b"\1\2\3\4", nlri("::/0")) + ORIGIN + AS_PATH), 9),
            (body(attributes=reach(1, b"\1\2\3", nlri("10.0.0.0/8")) + ORIGIN + AS_PATH), 9),
        ],
    )
    def test_what_cannot_be_located_ends_the_session(self, data, subcode):
        with pytest.raises(UpdateError) as caught:
            decoder().decode(data)
        assert (caught.value.code, caught.value.subcode) == (3, subcode)

    def test_an_error_in_an_update_without_routes_may_have_hidden_them(self):
        with pytest.raises(UpdateError, match="no routes found, and ORIGIN"):
            decoder().decode(body(attributes=attribute(1, b"\7") + AS_PATH))

    @pytest.mark.parametrize("block", [ORIGIN + AS_PATH + NEXT_HOP, ORIGIN, LOCAL_PREF + AS_PATH])
    def test_attributes_without_routes_and_without_errors_are_nothing(self, block):
        result = decoder().decode(body(attributes=block))
        assert (result.steps, result.problems) == ([], {})

    def test_withdrawals_may_have_attributes_beside_them(self):
        gone = nlri("10.0.0.0/8")
        assert len(decoder().decode(body(withdrawn=gone, attributes=ORIGIN)).steps) == 1
        block = ORIGIN + unreach(2, nlri("::/0"))
        assert decoder().decode(body(attributes=block)).steps == [(V6, None, [nlri("::/0")])]


def test_a_two_octet_session_reads_two_octet_paths():
    block = ORIGIN + attribute(2, sequence(64513, 64514, size=2)) + NEXT_HOP
    attributes = only_attributes(decoder(asn4=False).decode(announcement(block)))
    assert attributes.as_path[0].asns == (64513, 64514)
