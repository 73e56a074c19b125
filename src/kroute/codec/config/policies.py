"""What the types of policies cannot say: lengths, expressions, communities, and names that must exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, Final

from kroute.model.communities import WELL_KNOWN_COMMUNITIES, parse_community
from kroute.model.config import Config
from kroute.model.peering import effective_peers
from kroute.model.policies import (
    AsPathMatch,
    Match,
    PolicyConfig,
    PrefixMatch,
    RuleConfig,
    Then,
)
from kroute.model.selection import RemoteAs

Path = tuple[str | int, ...]
Objections = Iterator[tuple[Path, str]]

MOST_EXPRESSION: Final = 200
"""Characters of a regular expression."""


def policy_objections(part: Any) -> Objections:
    """What is wrong with a part of a policy by itself."""
    match part:
        case PrefixMatch():
            yield from _lengths(part)
        case AsPathMatch():
            yield from _as_path(part)
        case RuleConfig():
            yield from _rule(part)
        case PolicyConfig():
            yield from _twice(("rules",), [rule.name for rule in part.rules])


def _lengths(part: PrefixMatch) -> Objections:
    own, bits = part.prefix.prefixlen, part.prefix.max_prefixlen
    for key, value in (("ge", part.ge), ("le", part.le)):
        if value is not None and not own <= value <= bits:
            yield (key,), f"expected {own} to {bits}, the lengths within {part.prefix}, got {value}"
    if part.ge is not None and part.le is not None and part.ge > part.le:
        yield (
            ("ge",),
            f"is more than le, {part.le}: no prefix is at least {part.ge} and at most that",
        )


def _as_path(part: AsPathMatch) -> Objections:
    least, most = part.min_length, part.max_length
    if least is not None and most is not None and least > most:
        yield ("minLength",), f"is more than maxLength, {most}: no path matches"
    if len(part.regex) > MOST_EXPRESSION:
        yield ("regex",), f"is longer than {MOST_EXPRESSION} characters"
        return
    try:
        re.compile(part.regex)
    except (re.error, OverflowError, RecursionError) as error:
        yield ("regex",), f"is no regular expression: {error}"
        return
    if _repeats_repetitions(part.regex):
        reason = "repeats a group that repeats: a hostile AS path could keep it busy for ever"
        yield ("regex",), reason


def _repeats_repetitions(expression: str) -> bool:
    """Whether a repeated group holds a repetition. Cautious: it may see one where none is."""
    plain = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "x", expression)
    open_groups: list[bool] = [False]
    for i, char in enumerate(plain):
        if char == "(":
            open_groups.append(False)
        elif char in "*+{":
            open_groups[-1] = True
        elif char == ")" and len(open_groups) > 1:
            holds = open_groups.pop()
            if holds and plain[i + 1 : i + 2] in ("*", "+", "{"):
                return True
            open_groups[-1] |= holds
    return False


def _rule(rule: RuleConfig) -> Objections:
    hop, family = rule.set.next_hop, rule.match.family
    if hop is not None and hop.version == 4 and family != "ipv4":
        reason = "IPv4 routes only can have an IPv4 next hop: say match.family: ipv4"
        yield ("set", "nextHop"), reason
    if hop is not None and (hop.is_unspecified or hop.is_multicast or hop.is_loopback):
        yield ("set", "nextHop"), f"{hop} is no address of one host"
    versions = {p.prefix.version for p in rule.match.prefixes}
    if family is not None and versions and versions != {4 if family == "ipv4" else 6}:
        yield ("match", "prefixes"), f"not all are of family {family}: they never match"
    if rule.reason and rule.then is not Then.REJECT:
        yield ("reason",), "is shown with rejected routes only, and this rule rejects none"


def _twice(path: Path, names: Iterable[str]) -> Objections:
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        first = seen.setdefault(name, i)
        if first != i:
            where = f"{path[-1]}[{first}]"
            yield (*path, i, "name"), f"{name!r} is already the name of {where}"


def policy_references(config: Config) -> Objections:
    """Names that policies and peers use, but nobody has defined."""
    yield from _twice(("policies",), [policy.name for policy in config.policies])
    yield from _own_names(config.community_names)
    for i, policy in enumerate(config.policies):
        for j, rule in enumerate(policy.rules):
            where: Path = ("policies", i, "rules", j)
            yield from _communities(where, rule, config.community_names)
            yield from _sessions((*where, "match"), rule.match, config)
    yield from _named_policies(config)


def _own_names(names: Mapping[str, str]) -> Objections:
    for name, text in names.items():
        where = ("communityNames", name)
        if name in WELL_KNOWN_COMMUNITIES.values() or not re.fullmatch(
            r"[A-Za-z][A-Za-z0-9._-]*", name
        ):
            yield where, f"{name!r} cannot be the name of a community: it is well known, or no word"
            continue
        reason = _objection(text, {}, exact=True)
        if reason is not None:
            yield where, reason


def _communities(where: Path, rule: RuleConfig, names: Mapping[str, str]) -> Objections:
    edit = rule.set.communities
    for below, texts, exact in (
        (("match", "communities"), rule.match.communities, False),
        (("set", "communities", "add"), edit.add, True),
        (("set", "communities", "remove"), edit.remove, False),
    ):
        for i, text in enumerate(texts):
            reason = _objection(text, names, exact=exact)
            if reason is not None:
                yield (*where, *below, i), reason


def _objection(text: str, names: Mapping[str, str], *, exact: bool) -> str | None:
    try:
        found = parse_community(text, names)
    except ValueError as error:
        return str(error)
    return f"expected one community, got {text!r}" if exact and found.exact is None else None


def _sessions(where: Path, match: Match, config: Config) -> Objections:
    peers = {f"peer/{peer.name}" for peer in config.peering.peers}
    groups = {group.name for group in config.peering.groups}
    for i, name in enumerate(match.peers):
        full = name if "/" in name else f"peer/{name}"
        if full not in peers and not full.startswith("node/"):
            yield (*where, "peers", i), f"there is no peer {name!r} ({_are(peers)})"
    for i, name in enumerate(match.groups):
        if name not in groups:
            yield (*where, "groups", i), f"there is no group {name!r} ({_are(groups)})"


def _named_policies(config: Config) -> Objections:
    peering, known = config.peering, {policy.name for policy in config.policies}
    wanted: list[tuple[Path, str | None]] = [
        (("peering", "import"), peering.import_),
        (("peering", "export"), peering.export),
    ]
    for key, keys in (("groups", peering.groups), ("peers", peering.peers)):
        for i, one in enumerate(keys):
            wanted.append((("peering", key, i, "import"), one.import_))
            wanted.append((("peering", key, i, "export"), one.export))
    for where, name in wanted:
        if name and name not in known:
            yield where, f"there is no policy {name!r} ({_are(known)})"
    yield from _kernel_exports(config, {n for where, n in wanted if where[-1] == "export"})
    for i, peer in enumerate(effective_peers(peering)):
        own = peer.local_asn or config.bgp.asn
        if peer.pass_on and peer.asn in (RemoteAs.INTERNAL, own):
            reason = "is for external peers: what internal ones tell goes where iBGP rules say"
            yield ("peering", "peers", i, "passOn"), reason


_KERNEL_ONLY: Final = ("weight", "metric", "table")
"""What a rule sets of the kernel's route alone."""
_LOCAL_TABLE: Final = 255


def _kernel_exports(config: Config, exports: Set[str | None]) -> Objections:
    for i, policy in enumerate(config.policies):
        for j, rule in enumerate(policy.rules):
            for key in _KERNEL_ONLY if policy.name in exports else ():
                if getattr(rule.set, key) is not None:
                    reason = (
                        "is for import: a neighbour is not told it, and this policy is an `export`"
                    )
                    yield ("policies", i, "rules", j, "set", key), reason
            if rule.set.table == _LOCAL_TABLE:
                reason = "255 is the kernel's table of local addresses; no route may be put there"
                yield ("policies", i, "rules", j, "set", "table"), reason


def _are(names: Iterable[str]) -> str:
    return f"there is: {', '.join(sorted(names)) or 'none'}"
