"""Records what BIRD, FRR and GoBGP send, for ``tests/contract``: ``python tests/support/record_bgp.py`` as root.

Each recording is a file of hexadecimal UPDATE bodies, one to a line, in the order they came, under comment
lines that say which program with which configuration wrote them. Run again when Debian has new versions, and
look at what changed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.bgp_bytes import decoder, nlri, rib_of
from support.bgp_cases import CASES, GONE, OVER_IPV6, announcements, withdrawals
from support.bgp_peers import ASN, DAEMON, INJECTOR, LISTENER, PEERS, Peer, Setup
from support.bgp_speaker import Identity, SessionEnded, Speaker
from support.netns import Lab, Namespace, wait_for

DATA = Path(__file__).parents[1] / "contract" / "data" / "bgp"
EXTERNAL = 64599


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A way of listening: how the sessions are set up and what the listener says of itself."""

    setup: Setup = Setup()
    asn4: bool = True


RECORDINGS = {
    "internal": Recording(),
    "external-2-octet": Recording(setup=Setup(listener_asn=EXTERNAL), asn4=False),
    "over-ipv6": Recording(setup=Setup(version=6, extended_nexthop=True)),
}


def sessions(lab: Lab, make: type, setup: Setup, folder: Path) -> tuple[Namespace, Peer]:
    """A namespace for the speakers, and a started daemon in another."""
    here, there = lab.namespace("speaker"), lab.namespace("daemon")
    lab.veth(here, "eth0", there, "eth0")
    for version, bits in ((4, 24), (6, 64)):
        ours = [f"{a[version]}/{bits}" for a in (INJECTOR, LISTENER)]
        here.address("eth0", *ours)
        there.address("eth0", f"{DAEMON[version]}/{bits}")
    peer = make(there, folder, setup)
    peer.start()
    return here, peer


def speak(where: Namespace, role: dict[int, str], setup: Setup, identity: Identity) -> Speaker:
    """An established session of one of the two neighbours, tried again while the daemon is not ready."""
    version = setup.version

    def attempt() -> Speaker | None:
        speaker = Speaker(where, role[version], DAEMON[version], identity)
        try:
            speaker.pump(lambda: speaker.established, what="session")
        except SessionEnded:  # bgpd does so until zebra has told it the interfaces
            speaker.close()
            return None
        return speaker

    made: Speaker = wait_for(attempt, 20, f"a session with {DAEMON[version]}")
    return made


def cases_for(setup: Setup) -> dict:
    """The routes to announce on such sessions."""
    return CASES | (OVER_IPV6 if setup.extended_nexthop else {})


def _record(make: type, recording: Recording) -> tuple[Peer, list[bytes]]:
    """The UPDATE bodies that the listener gets."""
    setup = recording.setup
    cases = cases_for(setup)
    with Lab("rec") as lab, tempfile.TemporaryDirectory() as folder:
        here, peer = sessions(lab, make, setup, Path(folder))
        extended = setup.extended_nexthop
        first = Identity(asn=ASN, router_id="192.0.2.11", extended_nexthop=extended)
        second = Identity(
            asn=setup.listener_asn,
            router_id="192.0.2.12",
            asn4=recording.asn4,
            extended_nexthop=extended,
        )
        injector = speak(here, INJECTOR, setup, first)
        listener = speak(here, LISTENER, setup, second)

        def heard() -> set:
            reader = decoder(
                asn4=recording.asn4, internal=setup.listener_asn == ASN, extended_nexthop=extended
            )
            return set(rib_of(reader.decode(b) for b in listener.updates))

        wanted = {(c.family, nlri(c.prefix)) for c in cases.values()}
        gone = {(cases[name].family, nlri(cases[name].prefix)) for name in GONE}
        injector.send(announcements(cases))
        listener.pump(lambda: heard() == wanted, what="all announcements")
        injector.send(withdrawals(cases))
        listener.pump(lambda: heard() == wanted - gone, what="all withdrawals")
        bodies = list(listener.updates)
        injector.close()
        listener.close()
        return peer, bodies


def _lines(peer: Peer, recording: Recording, bodies: list[bytes]) -> Iterator[str]:
    yield f"# {peer.version()}"
    yield f"# listener: AS {recording.setup.listener_asn}, {4 if recording.asn4 else 2}-octet AS numbers"
    yield from (f"# | {line}" for line in peer.config().splitlines())
    yield from (body.hex() for body in bodies)


def read(file: Path) -> list[bytes]:
    """The bodies of a recording."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return [bytes.fromhex(line) for line in lines]


def main() -> None:
    """Record everything, or what the arguments name: ``bird internal``."""
    DATA.mkdir(parents=True, exist_ok=True)
    for make in PEERS:
        for name, recording in RECORDINGS.items():
            file = DATA / f"{make.name}-{name}.hex"
            if any(word not in file.stem for word in sys.argv[1:]):
                continue
            peer, bodies = _record(make, recording)
            file.write_text("\n".join(_lines(peer, recording, bodies)) + "\n")


if __name__ == "__main__":
    main()
