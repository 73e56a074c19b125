"""The rehearsal: what its parts promise beyond the pages in tests/scenarios/rehearsals."""

from __future__ import annotations

import json
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from kroute.cli import main
from kroute.cli import plan as command
from kroute.codec.bgp import announce, attribute_block
from kroute.codec.config import parse_config
from kroute.codec.rehearsal import colours, report_text
from kroute.daemon.observation import read, write
from kroute.daemon.rehearsal import Setting, rehearse
from kroute.daemon.rehearsal.cluster import Cluster
from kroute.daemon.rehearsal.stage import Block, Stage, Voice
from kroute.drivers.speaker import Updates
from kroute.model.bgp import PeerKind, PeerName
from kroute.model.errors import KrouteError
from kroute.model.node import Node
from kroute.model.rehearsal import Change, RehearsalReport
from kroute.model.state import Observed
from support.daemon_road import Street
from support.routing import V4, attributes, n, peer

REFLECT = "peering: {topology: routeReflector, routeReflector: {nodes: [n01, n02]}}"
MESH = "peering: {topology: fullMesh}"
RR = peer(1, PeerKind.REFLECTOR)


def nodes(count: int) -> dict[str, Node]:
    return {
        f"n{i:02}": Node(
            name=f"n{i:02}",
            addresses=(ip_address(f"192.0.2.{i}"),),
            pod_cidrs=(ip_network(f"10.244.{i}.0/24"),),
        )
        for i in range(1, count + 1)
    }


def setting(text: str, count: int = 6) -> Setting:
    known = nodes(count)
    return Setting(observed=Observed(me="", config=parse_config(text), nodes=known, listed=True))


def counted(report: RehearsalReport, change: Change) -> int:
    return sum(len(s.peers) for n in report.nodes for s in n.sessions if s.change is change)


def test_every_node_reaches_every_other_in_a_mesh_and_behind_reflectors() -> None:
    for text in (MESH, REFLECT, "peering: {topology: none}"):
        report = rehearse(None, setting(text))
        found = {n.routes_after for n in report.nodes}
        assert found == ({0} if "none" in text else {5}), text


def test_work_divided_among_others_gives_the_same_report() -> None:
    with ThreadPoolExecutor(3) as pool:
        divided = rehearse(setting(MESH), setting(REFLECT), spread=pool.map)
    assert divided == rehearse(setting(MESH), setting(REFLECT))


def test_work_divided_among_processes_gives_the_same_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "MANY", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 1})
    spread = command._spread(6)
    assert spread is not map
    whole = rehearse(setting(MESH), setting(REFLECT), spread=spread)
    assert whole == rehearse(setting(MESH), setting(REFLECT))


def test_some_nodes_are_reported_as_when_all_are() -> None:
    whole = rehearse(setting(MESH), setting(REFLECT))
    for name in ("n01", "n05"):
        (alone,) = rehearse(setting(MESH), setting(REFLECT), [name]).nodes
        assert alone == next(n for n in whole.nodes if n.node == name)


@pytest.mark.parametrize("texts", [(MESH, REFLECT), (MESH, "bgp: {holdTime: 9}\n" + MESH)])
def test_of_a_large_cluster_a_few_nodes_alone_are_played_in_full(
    texts: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_full, planned = [], Cluster._planned

    def noted(self: Cluster, name: str, among: Container[str] | None = None) -> Stage:
        in_full.extend([name] if among is None else [])
        return planned(self, name, among)

    monkeypatch.setattr(Cluster, "_planned", noted)
    rehearse(setting(texts[0], 40), setting(texts[1], 40))
    assert len(set(in_full)) < 8


def test_a_sample_that_comes_to_something_else_than_an_extra_would_has_all_played_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = rehearse(None, setting(MESH, 40))
    monkeypatch.setattr("kroute.daemon.rehearsal.troupe.install", lambda _stage, _kernel: None)
    assert rehearse(None, setting(MESH, 40)) == truth


def test_there_and_back_is_the_reverse() -> None:
    there, back = (rehearse(setting(a), setting(b)) for a, b in ((MESH, REFLECT), (REFLECT, MESH)))
    assert counted(there, Change.REMOVED) == counted(back, Change.ADDED) == 12
    assert not [r for report in (there, back) for n in report.nodes for r in n.routes]


def test_another_key_is_told_by_its_file_and_resets_nothing() -> None:
    peer = "{{name: tor, address: 192.0.2.254, asn: 65001, passwordFile: /keys/{}}}"
    texts = [f"peering: {{topology: none, peers: [{peer.format(k)}]}}" for k in ("old", "new")]
    report = rehearse(setting(texts[0]), setting(texts[1]))
    words = report_text(report)
    assert "passwordFile /keys/old → /keys/new" in words
    assert "password /keys" not in words
    assert counted(report, Change.RESET) == 0


def test_many_lines_are_counted_unless_all_are_asked_for() -> None:
    report = rehearse(None, setting(MESH, 30))
    short, full = report_text(report), report_text(report, full=True)
    assert "and 21 more" in short
    assert "n01, n02, n03, n04 and 26 more  (joins)   each; shown for n01:" in short
    assert "and 21 more" not in full
    assert len(full.splitlines()) > 30 * 30


def test_colours_are_put_around_marks_alone() -> None:
    report = rehearse(setting(MESH), setting("bgp: {holdTime: 9}\n" + MESH))
    painted = report_text(report, paint=colours)
    assert "\x1b[35m! 5 sessions" in painted or "\x1b[33m~ 5 sessions" in painted
    assert "\x1b" not in report_text(report)


ANYCAST = (
    REFLECT.replace(", n02", "").replace("}}", "}, addPath: both}")
    + """
services: {internalPeers: true, static: [{name: s, addresses: [198.51.100.53], nodes: [NODES]}]}
"""
)


def test_all_paths_that_a_node_really_hears_are_brought_up_to_date() -> None:
    """A fourth one, of which no node of the inventory knows, stays as it is; so does what else was heard."""
    before, after = (setting(ANYCAST.replace("NODES", x)) for x in ("n02, n03, n04", "n02, n04"))
    heard = {PeerName("node/n01"): really_heard("2", "3", "4", "77")}
    before, after = (replace(s, heard={"n05": heard}) for s in (before, after))
    (found,) = rehearse(before, after, ["n05"]).nodes
    (route,) = found.routes
    assert route.prefix == "198.51.100.53/32"
    assert route.before == tuple(f"via 192.0.2.{i}" for i in (2, 3, 4, 77))
    assert route.after == tuple(f"via 192.0.2.{i}" for i in (2, 4, 77))


def test_a_node_that_begins_to_take_several_paths_hears_them_in_place_of_the_one_it_has() -> None:
    after = setting(ANYCAST.replace("NODES", "n02, n03"))
    before = setting(ANYCAST.replace("NODES", "n02, n03").replace(", addPath: both", ""))
    plain = Voice((Block(V4, attributes("192.0.2.2"), (n("198.51.100.53/32"),)),))
    before, after = (
        replace(s, heard={"n05": {PeerName("node/n01"): plain}}) for s in (before, after)
    )
    (found,) = rehearse(before, after, ["n05"]).nodes
    (route,) = found.routes
    assert (route.before, route.after) == (
        ("via 192.0.2.2",),
        ("via 192.0.2.2", "via 192.0.2.3"),
    )


def really_heard(*ends: str) -> Voice:
    """What a daemon that has these paths to the service hands over, as `kroute plan` reads it."""
    street = Street(RR)
    street.up(RR, add_path=(V4,))
    for number, end in enumerate(ends):
        said = attributes(f"192.0.2.{end}", local_pref=100)
        entry = number.to_bytes(4, "big") + n("198.51.100.53/32")
        messages = announce(attribute_block(V4, said, asn4=True), [entry], message_size=4096)
        street.happens(Updates(street.index(RR), [m[19:] for m in messages]))
    answer = json.loads(write(Observed(me="n05", config=parse_config("")), street.routing))
    return read(answer).heard[RR.name]


# --- the command --------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    items = [
        {
            "kind": "Node",
            "metadata": {"name": n.name},
            "spec": {"podCIDRs": [str(p) for p in n.pod_cidrs]},
            "status": {"addresses": [{"type": "InternalIP", "address": str(n.addresses[0])}]},
        }
        for n in nodes(3).values()
    ]
    texts = {
        "nodes": json.dumps({"kind": "List", "items": items}),
        "old": MESH,
        "new": "peering: {topology: none}",
        "bad": "bgp: {asn: 0}\nnonsense: 1",
        "none": "{}",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    return {name: str(tmp_path / name) for name in (*texts, "binary")}


def test_exit_codes_tell_nothing_something_and_danger(files: dict[str, str]) -> None:
    base = ["plan", "--objects", files["nodes"], "--from-config", files["old"], "--config"]
    assert main([*base, files["old"]]) == 0
    assert main([*base, files["new"]]) == 4
    assert main(["plan", "--objects", files["nodes"], "--config", files["old"]]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--objects", "nodes", "--config", "bad"], "nonsense"),
        (["--objects", "none", "--config", "old"], "names no node"),
        (["--objects", "/nowhere", "--config", "old"], "/nowhere: No such file"),
        (["--objects", "binary", "--config", "old"], "binary: is no text"),
        (["--from-config", "old", "--config", "new"], "--objects: is needed"),
        (["--objects", "nodes", "--config", "old", "--node", "n9"], "no node is called n9"),
        (
            ["--objects", "nodes", "--config", "new", "--from-config", "old", "--only-on", "n9"],
            "no node is called n9",
        ),
        (["--objects", "nodes", "--config", "new", "--only-on", "n01"], "--from-config: is needed"),
        ([], "--config: is needed"),
    ],
)
def test_an_input_that_cannot_be_used_is_refused_with_its_reason(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["plan", *(files.get(w, w) for w in words)]) == 2
    assert said in capsys.readouterr().err


def test_no_daemon_is_exit_code_3(files: dict[str, str], tmp_path: Path) -> None:
    assert main(["plan", "--config", files["new"], "--socket", str(tmp_path / "sock")]) == 3


def test_the_report_is_stable_json(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["plan", "--objects", files["nodes"], "--from-config", files["old"]]
    assert main([*base, "--config", files["new"], "--node", "n02", "-o", "json"]) == 4
    report = json.loads(capsys.readouterr().out)
    (node,) = report["nodes"]
    assert node["sessions"] == [
        {"change": "removed", "peers": ["node/n01", "node/n03"], "because": ["mesh, AS 64512"]}
    ]
    assert {c["code"] for c in report["cautions"]} == {"no-peer-left", "unreachable"}


def test_an_observation_of_another_version_is_not_read() -> None:
    with pytest.raises(KrouteError, match=r"the daemon is kroute 0\.0"):
        read({"version": "0.0", "observed": {}, "heard": {}})
    with pytest.raises(KrouteError, match="the daemon is kroute None"):
        read([])
