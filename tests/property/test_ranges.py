"""How a prefix stands to a set of prefixes, held to the standard library's slow answers."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import hypothesis.strategies as st
from hypothesis import given, settings

from kroute.model.net import Prefix, nlri_of
from kroute.plan.ranges import NO_RANGES, Ranges, shortened


def within(bits: int, start: int, make: type[IPv4Network] | type[IPv6Network]) -> st.SearchStrategy:
    """Prefixes of a family, many of them close to each other."""
    number = st.one_of(st.integers(start, start + 7), st.integers(0, (1 << bits) - 1))

    def build(value: int, length: int) -> Prefix:
        return make((value >> (bits - length) << (bits - length), length))

    return st.builds(build, number, st.integers(4, bits))


four = within(32, 0x0AF40000, IPv4Network)
six = within(128, 0xFD00 << 112, IPv6Network)
some = st.one_of(
    st.tuples(st.lists(four, max_size=6), st.lists(four, max_size=6)),
    st.tuples(st.lists(six, max_size=6), st.lists(six, max_size=6)),
)


@settings(deadline=None)
@given(some)
def test_every_prefix_stands_to_the_ranges_as_the_standard_library_says(
    drawn: tuple[list[Prefix], list[Prefix]],
):
    held, asked = drawn
    ranges = Ranges(map(nlri_of, held))
    for prefix in [*asked, *held]:
        holders = [h for h in held if prefix.subnet_of(h)]  # type: ignore[arg-type]
        longest = max(holders, key=lambda h: h.prefixlen, default=None)
        assert ranges.holder(nlri_of(prefix)) == (longest and nlri_of(longest))
        parts = [h for h in held if h != prefix and h.subnet_of(prefix)]  # type: ignore[arg-type]
        under = ranges.under(nlri_of(prefix))
        assert under in [nlri_of(p) for p in parts] or (under is None and not parts)
        related = bool(holders or parts)
        assert ranges.related([nlri_of(prefix)]) == [nlri_of(prefix)] * related


@settings(deadline=None)
@given(st.one_of(st.lists(four), st.lists(six)), st.randoms())
def test_the_order_of_the_ranges_does_not_matter(held: list[Prefix], random: object):
    shuffled = list(held)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = (Ranges(map(nlri_of, some)) for some in (held, shuffled))
    for prefix in held:
        around = [nlri_of(prefix.supernet(new_prefix=n)) for n in range(prefix.prefixlen)]
        assert [one.under(n) for n in around] == [two.under(n) for n in around]


@given(st.one_of(four, six), st.data())
def test_a_prefix_is_shortened_as_the_standard_library_does(prefix: Prefix, data: st.DataObject):
    length = data.draw(st.integers(0, prefix.prefixlen))
    assert shortened(nlri_of(prefix), length) == nlri_of(prefix.supernet(new_prefix=length))


def test_no_ranges_are_related_to_nothing():
    assert len(NO_RANGES) == 0
    everything = [nlri_of(ip_network(p)) for p in ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/32")]
    assert NO_RANGES.related(everything) == []
    assert NO_RANGES.holder(everything[2]) is None


@settings(deadline=None)
@given(
    st.sampled_from([(IPv4Network, four), (IPv6Network, six)]).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), pair[1])
    ),
    st.integers(0, 128),
    st.one_of(
        st.none(),
        st.lists(st.integers(1, 32), min_size=8, max_size=16),
    ),
    st.integers(0, 16),
)
def test_one_prefix_that_is_related_is_found_among_many_that_are_not(
    drawn: tuple[type[IPv4Network] | type[IPv6Network], Prefix],
    length: int,
    others: list[int] | None,
    place: int,
) -> None:
    make, held = drawn
    bits = held.max_prefixlen
    length = min(length, bits)
    one = (
        held.supernet(new_prefix=length)
        if length <= held.prefixlen
        else make((int(held.network_address), length))
    )
    far = int(held.network_address) ^ (1 << (bits - 1))
    asked = [
        nlri_of(make((far >> (bits - n) << (bits - n), n))) for n in others or [max(length, 1)] * 12
    ]
    ranges = Ranges([nlri_of(held)])
    assert ranges.related(asked) == []
    asked.insert(place, nlri_of(one))
    assert ranges.related(asked) == [nlri_of(one)]
