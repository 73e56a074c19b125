"""The edges of one daemon: its start, its local socket, its HTTP port, what it needs and what it can do without."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.daemon import Kroute, Site
from support.netns import wait_for
from support.nobody import as_user

pytestmark = pytest.mark.root


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("edge") as site:
        yield site


def fetch(node: Kroute, path: str) -> tuple[int, bytes]:
    """A page of the daemon's HTTP port, from inside its namespace."""
    with node.where.entered():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:20244{path}", timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def refused(node: Kroute, *prefix: str) -> str:
    """Start a daemon that must refuse to run: its only words, which hold no traceback."""
    status = node.launch(*prefix).wait(15)
    words = node.words()
    assert status == 1, words
    assert "Traceback" not in words
    return words


# --- start


def test_two_daemons_cannot_share_a_socket(site: Site) -> None:
    first, second = site.node(1), site.node(2)
    first.start()
    second.configure({"paths": {"run": str(first.folder / "run")}})
    assert "another kroute daemon is running and answers there" in refused(second)
    assert first.answers()


def test_the_socket_of_a_daemon_that_was_killed_is_replaced(site: Site) -> None:
    node = site.node(1)
    node.start()
    node.end(signal.SIGKILL)
    assert node.socket.exists()
    node.start()
    assert node.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it_in_good_order(site: Site, number: int) -> None:
    node = site.node(1)
    node.launch()
    wait_for(node.socket.exists, 15, "the first sign of life")
    assert node.end(number) == 0
    assert "Traceback" not in node.words()


def test_who_is_not_root_is_told_so_in_a_sentence(site: Site) -> None:
    node = site.node(1)
    site.folder.chmod(0o777)
    node.folder.chmod(0o777)
    words = refused(node, *as_user())
    assert "CAP_NET_ADMIN" in words


def test_a_run_folder_that_cannot_be_made_is_a_sentence(site: Site) -> None:
    node = site.node(1, {"paths": {"run": "/proc/kroute"}})
    assert "/proc/kroute" in refused(node)


def test_a_state_folder_that_cannot_be_written_is_a_warning(site: Site) -> None:
    node = site.node(1, {"paths": {"state": "/proc/kroute"}})
    node.start()
    assert "/proc/kroute" in node.words()
    wait_for(lambda: not node.missing(), 15, "readiness")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"routeProtocols": 5}', '{"routeProtocols": [true, "x", 999, 3]}']
)
def test_damaged_state_is_no_obstacle(site: Site, content: str) -> None:
    node = site.node(1)
    (node.folder / "state").mkdir()
    (node.folder / "state" / "marks.json").write_text(content)
    node.start()
    assert json.loads((node.folder / "state" / "marks.json").read_text()) == {
        "routeProtocols": [201]
    }


def test_an_http_port_in_use_is_reported_and_taken_when_it_is_free(site: Site) -> None:
    node = site.node(1)
    with node.where.entered():
        squatter = socket.create_server(("127.0.0.1", 20244))
    node.start()
    wait_for(lambda: not node.missing(), 15, "readiness")
    assert "port 20244: cannot listen" in node.problems()["http"]
    squatter.close()
    wait_for(lambda: node.problems() == {}, 15, "the port to be taken")
    assert fetch(node, "/healthz")[0] == 200


def test_a_bgp_port_in_use_is_reported_and_sessions_still_go_out(site: Site) -> None:
    one, two = site.node(1), site.node(2)
    with one.where.entered():
        squatter = socket.create_server(("192.0.2.1", 179))
    one.start()
    wait_for(lambda: "port 179" in one.peer("node/n2")["reason"], 15, "the reason")
    squatter.close()
    two.start()
    one.established("node/n2", timeout=30)
    wait_for(lambda: one.problems() == {}, 15, "the problem to go")


# --- what it says of itself


def test_readiness_names_what_is_missing_and_health_does_not_care(site: Site) -> None:
    node = site.node(1, {"inventory": {"static": {"path": str(site.folder / "later.json")}}})
    node.launch()
    wait_for(node.answers, 15)
    assert fetch(node, "/healthz") == (200, b'{"ok": true}\n')
    status, body = fetch(node, "/readyz")
    assert status == 503
    assert "inventory: not listed yet" in json.loads(body)["missing"]
    assert "cni: the conflist is not written" in json.loads(body)["missing"]
    site.join("n9", ["10.244.9.0/24"], ["192.0.2.9"])
    (site.folder / "later.json").write_text(site.inventory.read_text())
    wait_for(lambda: any("node/n9" in m for m in node.missing()), 10, "the peer to be missed")
    wait_for(lambda: len(node.missing()) == 1, 10, "nothing else to be missed")


def test_a_conflist_that_cannot_be_written_is_missed_and_written_later(site: Site) -> None:
    node = site.node(1)
    (node.folder / "cni").rmdir()
    (node.folder / "cni").write_text("a file")
    node.start()
    wait_for(lambda: "cni" in node.problems(), 15, "the problem")
    assert fetch(node, "/readyz")[0] == 503
    (node.folder / "cni").unlink()
    (node.folder / "cni").mkdir()
    wait_for(lambda: fetch(node, "/readyz")[0] == 200, 40, "the next attempt")
    assert (node.folder / "cni" / "10-kroute.conflist").exists()


def metrics(node: Kroute) -> dict[tuple[str, str], float]:
    """Sample name and its only label's value, to value; parsed as Prometheus does."""
    status, body = fetch(node, "/metrics")
    assert status == 200
    return {
        (s.name, next(iter(s.labels.values()), "")): s.value
        for family in text_string_to_metric_families(body.decode())
        for s in family.samples
    }


def test_metrics_are_pairs_that_agree_when_all_is_well(site: Site) -> None:
    one, two = site.node(1), site.node(2)
    for node in (one, two):
        node.start()
    one.established("node/n2")
    one.has("10.244.2.0/24", "fd00:10:244:2::/64")
    wait_for(lambda: not one.missing(), 15, "readiness")
    found = metrics(one)
    for pair in (
        (("kroute_fib_routes_desired", "ipv4"), ("kroute_fib_routes_installed", "ipv4")),
        (("kroute_fib_routes_desired", "ipv6"), ("kroute_fib_routes_installed", "ipv6")),
        (("kroute_peers_desired", ""), ("kroute_sessions_established", "")),
    ):
        assert found[pair[0]] == found[pair[1]] == 1
    assert found["kroute_ready", ""] == found["kroute_fib_synced", ""] == 1
    assert found["kroute_session_up", "node/n2"] == 1
    assert found["kroute_peer_paths_announced", "node/n2"] == 2
    assert found["kroute_problems", ""] == 0
    two.where.ip("route del 10.244.1.0/24 proto 201")
    two.has("10.244.1.0/24", "fd00:10:244:1::/64")
    assert metrics(two)["kroute_fib_heals_total", ""] == 1


def test_the_looking_glass_answers_every_question(site: Site) -> None:
    one, two = site.node(1), site.node(2)
    for node in (one, two):
        node.start()
    one.has("10.244.2.0/24", "fd00:10:244:2::/64")
    for question in ("peers", "routes", "nodes", "fib", "config", "problems", "status"):
        assert fetch(one, f"/v1/{question}")[0] == 200
        shown = one.run("show", question, "--socket", str(one.socket))
        assert shown.returncode == 0, shown.stderr
    story = json.loads(fetch(one, "/v1/why?target=10.244.2.7")[1])
    assert story["prefix"] == "10.244.2.0/24"
    assert story["story"][-1] == "the kernel has it"
    assert fetch(one, "/v1/why?target=nonsense")[0] == 400
    assert fetch(one, "/v1/nothing")[0] == fetch(one, "/")[0] == 404


def test_what_is_shown_of_the_kernel_is_what_ip_route_shows(site: Site) -> None:
    one, two = site.node(1, {"fib": {"metric": 600}}), site.node(2)
    for node in (one, two):
        node.start()
    one.has("10.244.2.0/24", "fd00:10:244:2::/64")
    wait_for(
        lambda: json.loads(fetch(one, "/v1/status")[1])["fib"]["complete"], 15, "all tables' ends"
    )
    one.where.ip("route add 10.9.0.0/16 via 192.0.2.2 proto 201 metric 7")
    rows = {r["prefix"]: r for r in json.loads(fetch(one, "/v1/fib")[1])}
    places = {(prefix, r["table"], r["metric"], r["note"]) for prefix, r in rows.items()}
    assert places == {
        ("10.9.0.0/16", 254, 7, "nobody desires it; goes with the next comparison"),
        ("10.244.2.0/24", 254, 600, ""),
        ("fd00:10:244:2::/64", 254, 600, ""),
    }


# --- bad manners


def connect(node: Kroute) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(node.socket))
    return client


def test_garbage_and_crowds_on_the_socket_leave_the_daemon_alone(site: Site) -> None:
    node = site.node(1)
    node.start()
    wait_for(lambda: not node.missing(), 15, "readiness")
    for request in (
        b"\0" * 4096,
        b"GET /" + b"x" * 100_000,
        b"A: b\r\n" * 10_000,
        b"GET / HTTP/1.0\r\n",
    ):
        with connect(node) as client, suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request)
    crowd: list[Any] = []
    try:
        for _ in range(300):
            with suppress(BlockingIOError):
                crowd.append(connect(node))
        wait_for(node.answers, 5, "an answer in spite of the crowd")
        with connect(node) as lazy:
            lazy.sendall(b"GET /v1/config HTTP/1.0\r\n\r\n")
            wait_for(node.answers, 5, "an answer in spite of one who does not read")
    finally:
        for client in crowd:
            client.close()
    assert node.answers()
    assert node.problems() == {}
    assert "Traceback" not in node.words()
    assert node.end() == 0
