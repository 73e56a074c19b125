"""A session that is bound to its interface, where another one leads to the same address as well: to somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import Kroute, Site
from support.daemon_peers import Bird
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root

CLUSTER, RIGHT_AS = 64512, 65001
HERE = {"ipv4": "198.51.100.2", "ipv6": "2001:db8:51::2"}
THERE = {"ipv4": "198.51.100.9", "ipv6": "2001:db8:51::9"}
SIZE = {"ipv4": 24, "ipv6": 64}
RIGHT, WRONG = "192.0.2.98", "192.0.2.99"
"""BGP identifiers of the routers at the ends of eth2 and eth1."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("bound") as site:
        yield site


class Cables:
    """A node whose eth1 and eth2 are in the same networks, each with a router of the very same address.

    Routes lead by eth1; the router there would have a session with us, too.
    """

    def __init__(self, site: Site, family: str, **keys: Any) -> None:
        self.site, self.family = site, family
        wanted = {"name": "tor", "address": THERE[family], "asn": RIGHT_AS, "interface": "eth2"}
        peers = [wanted | keys]
        self.node: Kroute = site.node(1, {"peering": {"topology": "none", "peers": peers}})
        self.wrong = self._router(1)
        where, size = self.node.where, SIZE[family]
        where.address("eth1", f"{HERE[family][:-1]}1/{size}")
        if family == "ipv6":
            # Neighbour discovery would not answer there for the address of eth2.
            self.wrong.ip(f"-6 route add {HERE[family]}/128 via {HERE[family][:-1]}1")

    def _router(self, number: int) -> Namespace:
        router = self.site.lab.namespace(f"r{number}")
        self.site.lab.veth(self.node.where, f"eth{number}", router, "eth1")
        router.address("eth1", f"{THERE[self.family]}/{SIZE[self.family]}")
        return router

    def plug_in(self) -> Namespace:
        """Let eth2 come, with the right router."""
        router = self._router(2)
        where, size = self.node.where, SIZE[self.family]
        where.address("eth2", f"{HERE[self.family]}/{size}")
        return router

    def bird(self, where: Namespace, router_id: str, passive: str = "yes") -> Bird:
        text = (
            f"protocol bgp n1 {{ local {THERE[self.family]} as {RIGHT_AS};"
            f" neighbor {HERE[self.family]} as {CLUSTER}; passive {passive}; connect retry time 1;"
            f" connect delay time 1; error wait time 1,1; hold time 9;"
            f" {self.family} {{ import all; export none; }}; }}\n"
        )
        return Bird(where, self.site.folder / f"bird-{router_id}", router_id, text)

    def peer(self) -> dict[str, Any]:
        """The page of the peer; empty where there is none."""
        if not self.node.ask("peers"):
            return {}
        return dict(self.node.ask("peer", name="tor"))

    def is_up_with(self, router_id: str) -> bool:
        page = self.peer()
        return (
            bool(page) and page["state"] == "established" and router_id in str(page["negotiated"])
        )


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_bound_session_comes_up_by_its_interface_where_routes_lead_by_another(
    site: Site, family: str
) -> None:
    cables = Cables(site, family, bindToInterface=True)
    cables.bird(cables.wrong, WRONG)
    cables.bird(cables.plug_in(), RIGHT)
    cables.node.start()
    wait_for(lambda: cables.is_up_with(RIGHT), 20, f"a session by eth2: {cables.peer()}")
    assert cables.peer()["configured"]["boundTo"] == "eth2"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_without_being_bound_it_comes_up_with_whoever_routes_lead_to(
    site: Site, family: str
) -> None:
    cables = Cables(site, family)
    cables.bird(cables.wrong, WRONG)
    cables.bird(cables.plug_in(), RIGHT)
    cables.node.start()
    wait_for(lambda: cables.is_up_with(WRONG), 20, f"a session by eth1: {cables.peer()}")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_connection_that_comes_by_another_interface_is_refused(site: Site, family: str) -> None:
    cables = Cables(site, family, bindToInterface=True, passive=True)
    cables.plug_in()
    cables.bird(cables.wrong, WRONG, passive="no")
    cables.node.start()
    wait_for(
        lambda: "it came by eth1, not by eth2" in cables.node.log.read_text(), 20, "the refusal"
    )
    assert cables.peer()["state"] != "established"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_connection_that_comes_by_its_interface_is_bound_to_it(site: Site, family: str) -> None:
    cables = Cables(site, family, bindToInterface=True, passive=True)
    right, where = cables.plug_in(), cables.node.where
    where.ip(f"{'-6 ' if family == 'ipv6' else ''}route add {THERE[family]} dev eth2")
    cables.bird(right, RIGHT, passive="no")
    cables.node.start()
    wait_for(lambda: cables.is_up_with(RIGHT), 20, f"a session by eth2: {cables.peer()}")
    assert "%eth2" in where.run(["ss", "-Htn", "state", "established", "sport", "=", ":179"])


def test_a_bound_session_waits_for_its_interface_and_says_so(site: Site) -> None:
    cables = Cables(site, "ipv4", bindToInterface=True)
    cables.bird(cables.wrong, WRONG)
    cables.node.start()
    words = "there is no interface eth2; the session is not set up"
    wait_for(lambda: words in str(cables.node.ask("problems")), 20, "the missing interface")
    assert not cables.peer()
    cables.bird(cables.plug_in(), RIGHT)
    wait_for(lambda: cables.is_up_with(RIGHT), 20, f"a session by eth2: {cables.peer()}")
    assert words not in str(cables.node.ask("problems"))
    cables.node.where.ip("link del eth2")
    wait_for(lambda: words in str(cables.node.ask("problems")), 20, "the missing interface again")
    wait_for(lambda: not cables.peer(), 20, "the end of the session")
