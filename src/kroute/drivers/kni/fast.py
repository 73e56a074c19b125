"""The fast path: what bridge and host-local would do for a pod, over netlink in this process.

Same names, same addresses, same lease files, same sysctls, same result; ``tests/interop/test_kni_fast.py`` runs both
and compares. The bridge itself is the plugin's: while it is not there with its addresses, :meth:`FastPath.prepare`
leaves the pod to the plugins, which make it.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

from kroute.codec.kni import veth
from kroute.codec.kni.cni import Json, leased
from kroute.drivers.kni.leases import DEFAULT, Given, Leases
from kroute.drivers.kni.netns import entered
from kroute.drivers.kni.plugins import Deadline
from kroute.drivers.kni.removal import Removal
from kroute.drivers.kni.talk import Refused, Talk
from kroute.model.kni import How, KniError, Refusal, Wiring
from kroute.model.net import Address
from kroute.plan.kni_fast import Recipe, recipe, result
from kroute.plan.kni_gc import mark_of

_SYSCTL = "/proc/sys/net"
_LOOPBACK = 1
"""Index of ``lo`` in every namespace."""
_MOST_RECIPES = 64
_MEMORY = 2.0
"""Seconds that the bridge is taken to be as it was seen."""
_SETTLE = 2.0
"""Seconds until the node's end forwards, once the pod's end is up."""


End = tuple[str, Wiring]
"""A container's id, and one of its interfaces."""


class FastPath:
    """Attaches and detaches in this process; the core asks it first, and the plugins where it says no."""

    def __init__(self, *, enabled: bool = True) -> None:
        """``enabled`` false: nothing new is attached; what was is still detached."""
        self._enabled = enabled
        self._idle: list[Talk] = []
        self._mutex = threading.Lock()
        self._removal = Removal(self._talking)
        self._recipes: dict[tuple[int, bool], tuple[object, Recipe | None]] = {}
        self._by_folder: dict[Path, Leases] = {}
        self._bridges: dict[Recipe, tuple[float, veth.LinkState]] = {}

    @contextmanager
    def _talking(self) -> Iterator[Talk]:
        """A socket of the node's namespace; one that met an error is not used again."""
        with self._mutex:
            talk = self._idle.pop() if self._idle else None
        talk = talk or Talk()
        try:
            yield talk
        except Refused:
            with self._mutex:
                self._idle.append(talk)
            raise
        except BaseException:
            talk.close()
            raise
        with self._mutex:
            self._idle.append(talk)

    def close(self) -> None:
        """Close the sockets, once the kernel has answered."""
        self._removal.close()
        while self._idle:
            self._idle.pop().close()

    # --- attach -------------------------------------------------------------------------------------------

    def prepare(self, container: str, wiring: Wiring) -> Wiring | None:
        """The wiring with a free name for the node's end; None where the plugins have to do the work."""
        made = self._recipe(wiring) if self._enabled else None
        if made is None:
            return None
        try:
            with self._talking() as talk:
                if self._known_bridge(talk, made) is None:
                    return None
                host = f"veth{secrets.token_hex(4)}"
                while talk.index(host):
                    host = f"veth{secrets.token_hex(4)}"
        except KniError:
            return None
        return replace(wiring, how=How.FAST, host=host)

    def _recipe(self, wiring: Wiring) -> Recipe | None:
        """The recipe of a network; pods of one conflist share its value, so it is read once."""
        key = (id(wiring.network), bool(wiring.capabilities.get("portMappings")))
        known = self._recipes.get(key)
        if known is None or known[0] is not wiring.network:
            if len(self._recipes) > _MOST_RECIPES:
                self._recipes.clear()
            known = self._recipes[key] = (wiring.network, recipe(wiring))
        return known[1]

    def _leases(self, made: Recipe) -> Leases:
        """One value for each folder: it knows which files are spare."""
        folder = Path(made.folder or DEFAULT) / made.name
        with self._mutex:
            return self._by_folder.setdefault(folder, Leases(folder))

    def _known_bridge(self, talk: Talk, made: Recipe) -> veth.LinkState | None:
        """The bridge as it was seen a moment ago, or as it is now."""
        when, bridge = self._bridges.get(made, (0.0, None))
        if bridge is None or time.monotonic() - when > _MEMORY:
            bridge = self._bridge(talk, made)
            if bridge is not None:
                self._bridges[made] = (time.monotonic(), bridge)
        return bridge

    def _bridge(self, talk: Talk, made: Recipe) -> veth.LinkState | None:
        """The bridge, if it is as the plugin leaves it: up, with its addresses, on a node that forwards."""
        bridge = talk.link(made.bridge)
        if bridge is None or not bridge.up or bridge.kind != "bridge":
            return None
        wanted = {(made.gateway(p).packed, p.prefixlen) for p in made.ranges}
        if not wanted <= talk.addresses(bridge.ifindex):
            return None
        return bridge if all(_forwards(p.version) for p in made.ranges) else None

    def add(
        self, container: str, path: str, netns: int, wiring: Wiring, deadline: Deadline
    ) -> Json:
        """Lease addresses, make the pair, configure it; the result that the plugins would give.

        Raises:
            KniError: something refused; the caller undoes by :meth:`delete`.
        """
        made = self._recipe(wiring)
        assert made is not None, "prepared"
        macs = {"host": _random_mac(), "pod": _random_mac()}
        addresses = self._leases(made).take(container, wiring.interface, made.ranges)
        with self._talking() as talk:
            # Looked at anew after any failure.
            seen, bridge = self._bridges.pop(made, (0.0, None))
            bridge = bridge or self._bridge(talk, made)
            if bridge is None:
                raise KniError(Refusal.UNAVAILABLE, f"bridge {made.bridge} has gone; try again")
            try:
                talk.tell(
                    veth.create(
                        host=wiring.host,
                        host_mac=macs["host"],
                        bridge=bridge.ifindex,
                        pod=wiring.interface,
                        pod_mac=macs["pod"],
                        netns=netns,
                        mtu=made.mtu,
                    ),
                    veth.port_up(wiring.host, hairpin=made.hairpin, alias=mark_of(container)),
                )
            except Refused as refused:
                if refused.errno != errno.EEXIST:
                    raise
                reason = (
                    f"{path} has an interface {wiring.interface} already: is it another sandbox's?"
                )
                raise KniError(Refusal.CONFLICT, reason) from refused
            _write(f"{_SYSCTL}/ipv6/conf/{wiring.host}/accept_ra", "0", optional=True)
            self._inside(netns, wiring.interface, made, addresses)
            self._settle(talk, wiring.host, deadline)
        macs["bridge"] = bridge.mac
        self._bridges[made] = (seen, bridge)
        where = {"interface": wiring.interface, "sandbox": path, "host": wiring.host}
        return result(made, addresses, macs=macs, **where)

    def _inside(self, netns: int, interface: str, made: Recipe, addresses: list[Address]) -> None:
        """Addresses, then up, then routes: coming up with ``arp_notify`` announces them (RFC 5227 §3)."""
        has_v6 = any(a.version == 6 for a in addresses)
        with entered(netns):
            inside = Talk()
            _write(f"{_SYSCTL}/ipv6/conf/{interface}/accept_dad", "0", optional=True)
            _write(f"{_SYSCTL}/ipv4/conf/{interface}/arp_notify", "1")
            for name in ("lo", interface) if has_v6 else ():
                _enable_ipv6(name)
        try:
            index = inside.index(interface)
            if not index:
                raise KniError(Refusal.BROKEN, f"{interface} has gone while it was configured")
            pairs = list(zip(addresses, made.ranges, strict=True))
            configured = [ip_interface(f"{a}/{p.prefixlen}") for a, p in pairs]
            todo = [veth.add_address(index, address) for address in configured]
            todo += [veth.up(_LOOPBACK), veth.up(index)]
            if made.default_gateway:
                todo += [veth.add_default_route(index, made.gateway(p)) for _, p in pairs]
            inside.tell(*todo)
        finally:
            inside.close()

    def _settle(self, talk: Talk, host: str, deadline: Deadline) -> None:
        """Wait until the bridge forwards for the pod, as the plugin does."""
        end = time.monotonic() + _SETTLE
        while (link := talk.link(host)) is None or not link.forwarding:
            deadline.check("attach")
            if link is None or time.monotonic() > end:
                raise KniError(Refusal.BROKEN, f"bridge port {host} does not come up")
            time.sleep(0.0005)  # the kernel's link watch runs a moment later

    # --- detach -------------------------------------------------------------------------------------------

    def delete(self, going: Sequence[End], patience: float) -> list[KniError | None]:
        """Remove pairs and give the addresses back; what is gone already is no error.

        For each the reason why it could not be done, or None. ``patience``: seconds that the kernel may take.
        """
        try:
            refused = self._removal.remove([wiring.host for _, wiring in going], patience)
        except KniError as error:
            return [error] * len(going)
        found = [refused.get(wiring.host) for _, wiring in going]
        for leases, numbers in self._by_leases(going, found).items():
            try:
                leases.give_back(*(_given(*going[number]) for number in numbers))
            except KniError as error:
                for number in numbers:
                    found[number] = error
        return found

    def _by_leases(
        self, going: Sequence[End], refused: Sequence[KniError | None]
    ) -> dict[Leases, list[int]]:
        """Positions of those whose pair is gone, by where their addresses are leased."""
        found: dict[Leases, list[int]] = {}
        for number, (_, wiring) in enumerate(going):
            if refused[number] is None:
                made = self._recipe(wiring)
                assert made is not None, "prepared"
                found.setdefault(self._leases(made), []).append(number)
        return found


def _given(container: str, wiring: Wiring) -> Given:
    return container, wiring.interface, leased(wiring.result)


def _random_mac() -> str:
    octets = bytearray(os.urandom(6))
    octets[0] = octets[0] & 0xFE | 0x02  # an individual address, locally administered
    return octets.hex(":")


def _forwards(version: int) -> bool:
    name = "ipv4/ip_forward" if version == 4 else "ipv6/conf/all/forwarding"
    return _read(f"{_SYSCTL}/{name}") == b"1"


def _enable_ipv6(name: str) -> None:
    path = f"{_SYSCTL}/ipv6/conf/{name}/disable_ipv6"
    if _read(path) == b"1":
        _write(path, "0")


def _read(path: str) -> bytes:
    """The first octet of a sysctl; empty where the kernel has none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, 1)
    finally:
        os.close(file)


def _write(path: str, value: str, *, optional: bool = False) -> None:
    """Set a sysctl; ``optional``: not where the kernel has none (IPv6 turned off)."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, value.encode())
        finally:
            os.close(file)
    except FileNotFoundError:
        if not optional:
            raise KniError(Refusal.BROKEN, f"{path} is missing") from None
    except OSError as error:
        raise KniError(Refusal.BROKEN, f"{path}: {error.strerror}") from error
