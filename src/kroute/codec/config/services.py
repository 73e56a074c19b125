"""How the keys of ``services`` depend on each other."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from kroute.model.communities import read_communities
from kroute.model.config import Config
from kroute.model.config_services import Check, Services, StaticService
from kroute.model.net import Prefix

Path = tuple[str | int, ...]


def check(part: Check) -> Iterator[tuple[Path, str]]:
    """Exactly one way to check, and one that can be done."""
    ways = [w for w in ("http", "tcp", "exec") if getattr(part, w) is not None]
    if len(ways) != 1:
        yield (), f"expected one of http, tcp, exec, got {', '.join(ways) or 'none'}"
    if part.exec is not None and not (part.exec.command and part.exec.command[0]):
        yield ("exec", "command"), "expected a program and its arguments, got an empty list"
    if part.http is not None:
        try:
            usable = bool(urlsplit(part.http.url).hostname) and urlsplit(part.http.url).port != 0
        except ValueError:
            usable = False
        if not usable:
            yield ("http", "url"), f"expected a URL with a host, got {part.http.url!r}"


def static(part: StaticService) -> Iterator[tuple[Path, str]]:
    """A service has addresses that can be announced, and its checks end before the next begins."""
    if not part.addresses and not part.prefixes:
        yield ("addresses",), "a service needs an address or a prefix"
    for i, address in enumerate(part.addresses):
        if address.is_unspecified or address.is_multicast or address.is_loopback:
            yield ("addresses", i), f"{address} is no address that can be announced"
        elif address.is_link_local or "%" in str(address):
            yield ("addresses", i), f"{address} is link-local, which means nothing to others"
    for i, prefix in enumerate(part.prefixes):
        if not prefix.prefixlen or prefix.is_multicast or prefix.is_loopback:
            yield ("prefixes", i), f"{prefix} is no prefix of a service"
    if part.bind and not part.addresses:
        yield ("bind",), "puts addresses on lo, and there are none"


def services(part: Services) -> Iterator[tuple[Path, str]]:
    """Names once; aggregates within what may be announced at all."""
    names: dict[str, int] = {}
    for i, each in enumerate(part.static):
        first = names.setdefault(each.name, i)
        if first != i:
            yield ("static", i, "name"), f"{each.name!r} is already the name of static[{first}]"
    for i, aggregate in enumerate(part.aggregates):
        if not any(_within(aggregate.prefix, allowed) for allowed in part.ranges):
            yield ("aggregates", i, "prefix"), f"{aggregate.prefix} is not within services.ranges"


def communities(config: Config) -> Iterator[tuple[Path, str]]:
    """Communities are some, or names of communityNames."""
    found = config.services
    lists: list[tuple[Path, tuple[str, ...]]] = [(("services",), found.communities)]
    lists += [(("services", "static", i), s.communities) for i, s in enumerate(found.static)]
    for where, texts in lists:
        for i, text in enumerate(texts):
            try:
                read_communities([text], config.community_names)
            except ValueError as error:
                yield (*where, "communities", i), str(error)


def _within(inner: Prefix, outer: Prefix) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )
