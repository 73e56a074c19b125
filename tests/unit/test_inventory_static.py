"""The static inventory: files followed live, and nothing taken back because a file is in a bad state."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from kroute.drivers.inventory import inventory_driver
from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.drivers.inventory.static import StaticInventoryDriver
from kroute.model.config import Inventory, InventoryKind, StaticInventory
from kroute.model.inventory import Listed
from support.inventory import Told, following, node_object


def write(path: Path, *numbers: int) -> None:
    """Write a file with nodes in one go, as editors and kubelets do."""
    text = yaml.safe_dump({"kind": "List", "items": [node_object(n) for n in numbers]})
    replace(path, text)


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def driver(path: Path) -> StaticInventoryDriver:
    return StaticInventoryDriver(str(path))


def knows(*names: str):
    return lambda told: told.names() == list(names)


async def test_a_file_is_listed_and_its_changes_follow(tmp_path: Path):
    file = tmp_path / "nodes.yaml"
    write(file, 1, 2)
    async with following(driver(file)) as told:
        await told.until(knows("n1", "n2"))
        assert told.lists == 1
        write(file, 1, 3)
        await told.until(knows("n1", "n3"))
        assert told.removed == ["n2"]


async def test_json_is_read_as_well(tmp_path: Path):
    file = tmp_path / "nodes.json"
    file.write_text(json.dumps({"kind": "List", "items": [node_object(1)]}))
    async with following(driver(file)) as told:
        await told.until(knows("n1"))


async def test_a_folder_is_all_its_files(tmp_path: Path):
    write(tmp_path / "a.yaml", 1)
    (tmp_path / "b.json").write_text(json.dumps(node_object(2)))
    (tmp_path / "notes.txt").write_text("no nodes")
    async with following(driver(tmp_path)) as told:
        await told.until(knows("n1", "n2"))
        write(tmp_path / "c.yml", 3)
        await told.until(knows("n1", "n2", "n3"))
        (tmp_path / "a.yaml").unlink()
        await told.until(knows("n2", "n3"))
        assert told.removed == ["n1"]


@pytest.mark.parametrize(
    "bad", ["items: [", "", "\n", "a: 1\na: 2\n", "kind: List\n\titems: []", "\xff"]
)
async def test_a_broken_version_leaves_the_last_good_one_in_force(tmp_path: Path, bad: str):
    file = tmp_path / "nodes.yaml"
    write(file, 1, 2)
    async with following(driver(file)) as told:
        await told.until(knows("n1", "n2"))
        new = tmp_path / "new"
        new.write_bytes(bad.encode("latin-1"))
        new.replace(file)
        await told.until(lambda t: t.problems)
        (problem,) = told.problems
        assert problem.object == f"file/{file}"
        assert "its last good version stays in force" in problem.reason
        write(file, 1, 3)
        await told.until(lambda t: knows("n1", "n3")(t) and not t.problems)
        assert told.removed == ["n2"]


async def test_a_problem_names_the_line(tmp_path: Path):
    file = tmp_path / "nodes.yaml"
    file.write_text("kind: Node\nmetadata: {name: n1}\nmetadata: {}\n")
    async with following(driver(file)) as told:
        await told.until(lambda t: t.problems)
        assert "line 3" in told.problems[0].reason


async def test_a_file_that_is_written_in_parts_is_read_when_it_is_whole(tmp_path: Path):
    file = tmp_path / "nodes.yaml"
    write(file, 1, 2, 3)
    async with following(driver(file)) as told:
        await told.until(knows("n1", "n2", "n3"))
        documents = [yaml.safe_dump(node_object(n)) for n in (1, 2, 4)]
        with file.open("w") as growing:
            for document in documents:
                growing.write(f"---\n{document}")
                growing.flush()
        await told.until(knows("n1", "n2", "n4"))
        assert told.removed == ["n3"]


async def test_the_file_may_vanish_without_taking_the_cluster_along(tmp_path: Path):
    file = tmp_path / "nodes.yaml"
    write(file, 1)
    async with following(driver(file)) as told:
        await told.until(knows("n1"))
        file.unlink()
        await told.until(lambda t: t.stale and "is not there" in t.stale)
        write(file, 1, 2)
        await told.until(lambda t: knows("n1", "n2")(t) and t.stale is None)
        assert not told.removed


async def test_what_was_wrong_with_a_file_is_not_told_of_one_that_is_gone(tmp_path: Path):
    file, away = tmp_path / "nodes.yaml", tmp_path / "away"
    write(file, 1)
    async with following(driver(file)) as told:
        await told.until(knows("n1"))
        replace(file, "")
        await told.until(lambda t: "is empty" in str(t.problems))
        file.rename(away)
        await told.until(lambda t: t.stale and "is not there" in t.stale)
        assert not told.problems
        away.rename(file)  # the very file that was broken
        await told.until(lambda t: "is empty" in str(t.problems))


async def test_the_log_says_once_what_is_wrong_and_that_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "kroute.drivers.inventory.static")
    file = tmp_path / "nodes.yaml"
    async with following(driver(file)) as told:
        await told.until(lambda t: t.stale and "is not there" in t.stale)
        replace(file, "a: [")
        await told.until(lambda t: "is not YAML" in str(t.problems))
        write(file, 1)
        await told.until(knows("n1"))
    said = [f"{r.levelname} {r.message}" for r in caplog.records]
    assert [s for s in said if "is not there" in s] == [
        f"WARNING inventory: {file} is not there; the last known nodes stay in force"
    ]
    assert sum("is not YAML" in s for s in said) == 1
    assert said[-1] == f"INFO inventory: {file} is as it should be again"


async def test_a_file_that_names_no_node_takes_nothing_along(tmp_path: Path):
    file = tmp_path / "nodes.yaml"
    write(file, 1)
    async with following(driver(file)) as told:
        await told.until(knows("n1"))
        replace(file, "kind: List\nitems: []\n")
        await told.until(lambda t: t.stale and "names no node" in t.stale)
        write(file, 2)
        await told.until(lambda t: knows("n2")(t) and t.stale is None)


async def test_a_folder_that_is_emptied_takes_nothing_along(tmp_path: Path):
    folder = tmp_path / "nodes"
    folder.mkdir()
    write(folder / "a.yaml", 1)
    async with following(driver(folder)) as told:
        await told.until(knows("n1"))
        (folder / "a.yaml").unlink()
        await told.until(lambda t: t.stale and "holds no *.yaml" in t.stale)
        folder.rmdir()
        folder.mkdir()
        write(folder / "b.yaml", 1)
        await told.until(lambda t: t.stale is None)
        assert knows("n1")(told)
        assert not told.removed


async def test_nothing_is_listed_before_the_file_is_there(tmp_path: Path):
    file = tmp_path / "nodes.yaml"
    async with following(driver(file)) as told:
        await told.until(lambda t: t.stale)
        assert told.lists == 0
        write(file, 1)
        await told.until(lambda t: t.lists == 1 and t.stale is None)


async def test_while_a_file_was_never_good_nothing_is_known_to_be_gone(tmp_path: Path):
    write(tmp_path / "a.yaml", 1)
    (tmp_path / "b.yaml").write_text("items: [")
    async with following(driver(tmp_path)) as told:
        await told.until(lambda t: knows("n1")(t) and t.problems)
        assert "it is left out" in told.problems[0].reason
        assert told.lists == 0
        write(tmp_path / "b.yaml", 2)
        await told.until(lambda t: knows("n1", "n2")(t) and t.lists and not t.problems)


async def test_a_node_that_two_files_describe_is_told_and_the_first_file_counts(tmp_path: Path):
    write(tmp_path / "a.yaml", 1)
    other = node_object(1)
    other["spec"]["podCIDRs"] = ["10.9.9.0/24"]
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(other))
    async with following(driver(tmp_path)) as told:
        await told.until(lambda t: t.problems)
        assert "b.yaml describes it a second time" in told.problems[0].reason
        await told.until(knows("n1"))
        assert [str(c) for c in told.nodes["n1"].pod_cidrs] == ["10.244.1.0/24"]


async def test_a_configmap_that_swaps_its_symbolic_link_is_followed(tmp_path: Path):
    for version, numbers in (("v1", (1,)), ("v2", (1, 2))):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "nodes.yaml", *numbers)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "nodes.yaml").symlink_to("..data/nodes.yaml")
    async with following(driver(tmp_path / "nodes.yaml")) as told:
        await told.until(knows("n1"))
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        await told.until(knows("n1", "n2"))


async def test_a_new_version_of_the_same_size_and_time_is_noticed(tmp_path: Path):
    file = tmp_path / "nodes.yaml"
    write(file, 1)
    before = file.stat()
    async with following(driver(file)) as told:
        await told.until(knows("n1"))
        new = tmp_path / "new"
        new.write_text(file.read_text().replace("n1", "n7"))
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.replace(file)
        await told.until(knows("n7"))


async def test_an_unchanged_file_is_told_once(tmp_path: Path):
    file = tmp_path / "nodes.yaml"
    write(file, 1)
    async with following(driver(file)) as told:
        await told.until(knows("n1"))
        os.utime(file)
        await told.until(lambda t: t.lists == 2)
        first, second = (e for e in told.events if isinstance(e, Listed))
        assert first == second


def test_the_configured_kind_chooses_the_driver():
    static = inventory_driver(Inventory(static=StaticInventory(path="/x")))
    assert isinstance(static, StaticInventoryDriver)
    kubernetes = inventory_driver(Inventory(kind=InventoryKind.KUBERNETES))
    assert isinstance(kubernetes, KubernetesInventoryDriver)
    assert Told().names() == []
