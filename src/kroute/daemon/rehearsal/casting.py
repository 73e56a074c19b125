"""Who is played in full, and who only as far as those hear it.

In a cluster of a thousand nodes nearly all are alike: whatever decides about one of them decides the same about the
others, but for names, addresses and podCIDRs, of which only the order of addresses matters (who connects). Of such a
group a few samples are *principals*: they plan their sessions with everybody and hear everybody. The others are
*extras*: each plans for itself, too, by the same code, but looks at its sessions with principals only, and what else
happens on it is read from its own sessions with the samples of each group (:mod:`kroute.daemon.rehearsal.crowd`).

That holds as long as extras pass nothing on, and nothing singles one of them out: a node that the configuration names,
by its name, an address or a range, or that reflects, or whose addresses change, stands for itself. What cannot be known
before the nodes have planned is looked at then, and raises :class:`Unsuited`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, fields, is_dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from re import findall
from typing import Any

from kroute.daemon.rehearsal.setting import Setting
from kroute.model.config import Config
from kroute.model.net import Address, Family, Prefix
from kroute.model.node import Node
from kroute.model.topology import Duty, Role
from kroute.plan import plan
from kroute.plan.kube_router import with_annotations
from kroute.plan.services import EXCLUDED
from kroute.plan.survey import Survey, survey

WORTH = 0.5
"""Share of nodes that are principals up to which extras are worth the trouble."""

MOST_RANGES = 200
"""Addresses and ranges in the configurations up to which nodes are told apart by them."""


class Unsuited(Exception):
    """Nodes that were taken for extras are none."""

    def __init__(self, nodes: Iterable[str]) -> None:
        super().__init__()
        self.nodes = frozenset(nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Nodes that are alike."""

    extras: tuple[str, ...]
    """Sorted."""
    samples: tuple[str, ...]
    """Of each family of addresses, the node with the lowest one and that with the highest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Casting:
    """Who plays what."""

    principals: frozenset[str]
    groups: tuple[Group, ...] = ()

    @property
    def group_of(self) -> Mapping[str, Group]:
        """The group of each extra and of each sample."""
        return {n: group for group in self.groups for n in (*group.extras, *group.samples)}


def cast(
    before: Setting | None, after: Setting, wanted: Collection[str] | None, singled: Set[str]
) -> Casting | None:
    """Who is to be a principal, so that the report of the ``wanted`` nodes (None: of all) is what it were if all were.

    ``singled`` are nodes that must be principals. None: it is not worth it.
    """
    facts = _Facts([s for s in (before, after) if s is not None])
    if wanted is not None:
        return Casting(principals=frozenset({*wanted, *singled, *facts.reflectors}))
    if facts.too_many:
        return None
    principals, alike = set[str](), dict[object, list[str]]()
    for name in facts.names:
        if name in singled or facts.single_out(name):
            principals.add(name)
        else:
            alike.setdefault(facts.of(name), []).append(name)
    groups = []
    for members in alike.values():
        samples = _samples(members, facts.addresses)
        extras = sorted(set(members) - samples)
        principals |= samples
        groups.append(Group(extras=tuple(extras), samples=tuple(sorted(samples))))
    if len(principals) > WORTH * len(facts.names):
        return None
    return Casting(principals=frozenset(principals), groups=tuple(g for g in groups if g.extras))


def _samples(members: list[str], addresses: Mapping[str, Node]) -> set[str]:
    found = set(members[:2])
    for family in Family:
        held = [(a.packed, n) for n in members if (a := addresses[n].address(family)) is not None]
        found |= {n for _, n in (min(held), max(held))} if held else set()
    return found


class _Facts:
    """All that may decide about a node, in all settings together, but for what is its own alone."""

    def __init__(self, settings: list[Setting]) -> None:
        self._settings = settings
        self._surveys = [survey(s.observed.nodes) for s in settings]
        self._configs = [_configs(s) for s in settings]
        every = [config for found in self._configs for config in found]
        self._texts = sorted({text for config in every for text in _texts(config)})
        self._blob = "\n".join(self._texts)
        self._keys: dict[str, bool] = {EXCLUDED: True}
        self._ranges = sorted({_span(r) for r in _ranges(self._texts)})
        self.too_many = len(self._ranges) > MOST_RANGES
        self._roles = [
            [_roles(setting, known, config) for config in found]
            for setting, known, found in zip(settings, self._surveys, self._configs, strict=True)
        ]
        self.addresses: dict[str, Node] = {
            n: d for s in settings for n, d in s.observed.nodes.items()
        }
        self.names = sorted(self.addresses)
        self._claimed = {
            a
            for s in settings
            for a, count in Counter(
                a for node in s.observed.nodes.values() for a in set(node.addresses)
            ).items()
            if count > 1
        }
        self._elsewhere = {
            text for node in self.addresses.values() for text in self._named_by(node)
        }

    @property
    def reflectors(self) -> set[str]:
        """The nodes that reflect in any setting, as any configuration has it."""
        return {
            name
            for found in self._roles
            for roles in found
            for name, role in roles.items()
            if role.duty is Duty.REFLECTOR
        }

    def single_out(self, name: str) -> bool:
        """Whether something is said of this very node, so that it is like no other."""
        held = [s.observed.nodes.get(name) for s in self._settings]
        there = [node for node in held if node is not None]
        settled = [k.nodes[name].pod_cidrs for k in self._surveys if name in k.nodes]
        return (
            name in self._blob
            or any(name in s.kernels or name in s.heard for s in self._settings)
            or any(n.addresses != there[0].addresses for n in there)
            or any(cidrs != there[0].pod_cidrs for cidrs in settled)
            or any(n.pod_cidrs != there[0].pod_cidrs for n in there)
            or not self._claimed.isdisjoint(there[0].addresses)
            or any(str(address) in self._elsewhere for address in there[0].addresses)
            or any(
                role.duty is Duty.REFLECTOR
                for found in self._roles
                for roles in found
                if (role := roles.get(name)) is not None
            )
        )

    def of(self, name: str) -> object:
        """What must be equal of nodes that are alike."""
        return tuple(
            None
            if (node := setting.observed.nodes.get(name)) is None
            else (
                self._of(node),
                configs.index(setting.config(name)),
                tuple(roles.get(name) for roles in found),
            )
            for setting, configs, found in zip(
                self._settings, self._configs, self._roles, strict=True
            )
        )

    def _of(self, node: Node) -> object:
        return (
            tuple(a.version for a in node.addresses),
            tuple((p.version, p.prefixlen) for p in node.pod_cidrs),
            tuple(sorted(self._counting(node.labels))),
            tuple(sorted(self._counting(node.annotations))),
            node.ready,
            node.unschedulable,
            node.kube_router,
            tuple(self._stands(_span(thing)) for thing in (*node.addresses, *node.pod_cidrs)),
        )

    def _counting(self, labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The labels or annotations of which a configuration speaks."""
        for key, value in labels.items():
            known = self._keys.get(key)
            if known is None:
                known = self._keys[key] = key in self._blob
            if known:
                yield key, value

    def _named_by(self, node: Node) -> Iterator[str]:
        """Addresses that a node's own annotations name."""
        for _, value in (*self._counting(node.labels), *self._counting(node.annotations)):
            yield from findall(r"[0-9A-Fa-f.:]+", value)
        if node.kube_router is not None:
            yield from (str(peer.address) for peer in node.kube_router.peers)

    def _stands(self, span: tuple[int, int, int]) -> tuple[tuple[int, bool, bool], ...]:
        """How a range stands to those of the configurations: by number, whether it is in it and around it."""
        version, first, last = span
        return tuple(
            (i, low <= first and last <= high, first <= low and high <= last)
            for i, (which, low, high) in enumerate(self._ranges)
            if which == version and low <= last and first <= high
        )


def _configs(setting: Setting) -> list[Config]:
    found = [setting.observed.config]
    found += [c for c in setting.configs.values() if c not in found]
    return found


def _roles(setting: Setting, known: Survey, config: Config) -> Mapping[str, Role]:
    """Everybody's part in the topology, as a node of this configuration sees it."""
    nodes = setting.observed.nodes
    me = next((name for name in nodes if setting.config(name) == config), None)
    if me is None:
        return {}
    return plan(with_annotations(setting.seen_by(me)), known, among=()).roles


def _texts(value: Any) -> Iterator[str]:
    """Every text in a configuration, and every value that is none as one."""
    if is_dataclass(value):
        for f in fields(value):
            yield from _texts(getattr(value, f.name))
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, tuple | list | set | frozenset):
        for part in value:
            yield from _texts(part)
    elif value is not None and not isinstance(value, bool | int | float):
        yield str(value)


def _ranges(texts: Iterable[str]) -> Iterator[Prefix]:
    for text in texts:
        for part in findall(r"[0-9A-Fa-f.:]+(?:/[0-9]+)?", text):
            try:
                yield ip_network(part, strict=False)
            except ValueError:
                continue


def _span(thing: Address | Prefix) -> tuple[int, int, int]:
    """IP version, first and last address."""
    if isinstance(thing, IPv4Network | IPv6Network):
        first = int(thing.network_address)
        return thing.version, first, first | (1 << (thing.max_prefixlen - thing.prefixlen)) - 1
    return thing.version, int(thing), int(thing)
