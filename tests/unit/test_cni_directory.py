"""The CNI folder: our file appears whole or not at all, and nobody else's is touched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from kroute.codec.conflist import render
from kroute.drivers.cni import CniDirectory, remove_bridge
from kroute.model.cni import Conflist
from kroute.model.config import Cni
from kroute.model.errors import DriverError
from kroute.model.problem import Severity
from support.netns import Lab

WANTED = Conflist(
    name="kroute",
    cni_version="1.0.0",
    bridge="kroute0",
    ranges=(ip_network("10.244.1.0/24"),),
)
MOVED = replace(WANTED, ranges=(ip_network("10.244.9.0/24"),))


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bridge", "host-local", "portmap"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def config(tmp_path: Path, plugins: Path) -> Cni:
    (tmp_path / "net.d").mkdir()
    return Cni(
        directory=str(tmp_path / "net.d"),
        bin_directories=(str(plugins), str(tmp_path / "elsewhere")),
        data_directory=str(tmp_path / "leases"),
    )


@pytest.fixture
def folder(config: Cni) -> Path:
    return Path(config.directory)


@pytest.fixture
def cni(config: Cni) -> CniDirectory:
    return CniDirectory(config)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, two pages large."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "kt-cni", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_file_is_written_for_its_reader_alone(cni: CniDirectory, folder: Path):
    assert cni.apply(WANTED) == ()
    assert cni.read() == render(WANTED)
    assert names(folder) == ["10-kroute.conflist"]
    assert cni.path.stat().st_mode & 0o777 == 0o600


def test_the_mode_does_not_depend_on_the_umask(cni: CniDirectory):
    before = os.umask(0o377)
    try:
        cni.apply(WANTED)
    finally:
        os.umask(before)
    assert cni.path.stat().st_mode & 0o777 == 0o600


def test_equal_content_is_not_written_again(cni: CniDirectory):
    cni.apply(WANTED)
    os.utime(cni.path, ns=(1, 1))
    inode = cni.path.stat().st_ino
    cni.apply(WANTED)
    assert (cni.path.stat().st_mtime_ns, cni.path.stat().st_ino) == (1, inode)


def test_a_changed_podcidr_replaces_the_content(cni: CniDirectory, folder: Path):
    cni.apply(WANTED)
    cni.apply(MOVED)
    assert cni.read() == render(MOVED)
    assert b"10.244.1.0" not in cni.path.read_bytes()
    assert names(folder) == ["10-kroute.conflist"]


def test_a_file_that_somebody_changed_or_removed_is_put_right(cni: CniDirectory):
    cni.apply(WANTED)
    cni.path.write_text("{}")
    cni.apply(WANTED)
    assert cni.read() == render(WANTED)
    cni.path.unlink()
    cni.apply(WANTED)
    assert cni.read() == render(WANTED)


def test_while_nothing_can_be_said_the_file_of_an_earlier_life_stays(cni: CniDirectory):
    cni.apply(WANTED)
    assert cni.apply(None) == ()
    assert cni.read() == render(WANTED)


def test_turned_off_nothing_is_written(config: Cni, folder: Path):
    assert CniDirectory(replace(config, enabled=False)).apply(WANTED) == ()
    assert names(folder) == []


def test_a_draft_that_a_crash_left_is_removed(cni: CniDirectory, folder: Path):
    cni.apply(WANTED)
    draft = folder / ".10-kroute.conflist.kroute-tmp"
    draft.write_text("half")
    cni.apply(WANTED)
    assert names(folder) == ["10-kroute.conflist"]
    draft.write_text("half")
    cni.apply(None)
    assert names(folder) == ["10-kroute.conflist"]


def test_a_link_in_the_files_place_is_replaced_and_not_followed(cni: CniDirectory, tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    cni.path.symlink_to(victim)
    cni.apply(WANTED)
    assert victim.read_text() == "precious"
    assert not cni.path.is_symlink()


def test_a_link_in_the_drafts_place_is_replaced_and_not_followed(
    cni: CniDirectory, folder: Path, tmp_path: Path
):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder / ".10-kroute.conflist.kroute-tmp").symlink_to(victim)
    cni.apply(WANTED)
    assert victim.read_text() == "precious"
    assert cni.read() == render(WANTED)


def test_a_pipe_in_the_files_place_does_not_block(cni: CniDirectory):
    os.mkfifo(cni.path)
    cni.apply(WANTED)
    assert cni.read() == render(WANTED)


def test_missing_plugins_are_named_with_the_folders_searched(
    cni: CniDirectory, config: Cni, plugins: Path
):
    (plugins / "host-local").unlink()
    (plugins / "portmap").chmod(0o644)
    problems = cni.apply(WANTED)
    assert [p.object for p in problems] == ["plugin/host-local", "plugin/portmap"]
    searched = ", ".join(config.bin_directories)
    assert f"CNI plugin 'host-local' is in none of {searched}" in problems[0].reason
    assert all(p.severity is Severity.ERROR for p in problems)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "05-flannel.conflist",
            b'{"name":"cbr0","plugins":[{"type":"flannel"}]}',
            "runtimes use its network 'cbr0' and not ours",
        ),
        ("00-a.conf", b'{"name":"one","type":"ptp"}', "its network 'one'"),
        ("00-a.json", b'{"name":"one","type":"ptp"}', "its network 'one'"),
        ("00-broken.conflist", b"{", "it is not JSON: containerd stops at it"),
        ("00-broken.conf", b'{"name":"x","plugins":[{"type":"x"}]}', "has no type"),
        ("00-long.conflist", b" " * (1 << 20) + b"{}", "longer than 1 MiB"),
        (
            "99-copy.conflist",
            b'{"name":"kroute","plugins":[{"type":"bridge"}]}',
            "called 'kroute' as ours is",
        ),
    ],
)
def test_a_rival_is_left_alone_with_a_warning(
    cni: CniDirectory, folder: Path, name: str, content: bytes, reason: str
):
    (folder / name).write_bytes(content)
    (problem,) = cni.apply(WANTED)
    assert problem.object == f"file/{folder / name}"
    assert reason in problem.reason
    assert problem.severity is Severity.WARNING
    assert (folder / name).read_bytes() == content


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("99-other.conflist", b'{"name":"other","plugins":[{"type":"ptp"}]}'),
        ("99-broken.conflist", b"{"),
        ("00-calico.conflist.bak", b'{"name":"kroute","plugins":[{"type":"ptp"}]}'),
        ("00-notes.txt", b"hello"),
    ],
)
def test_a_neighbour_that_no_runtime_prefers_is_no_problem(
    cni: CniDirectory, folder: Path, name: str, content: bytes
):
    (folder / name).write_bytes(content)
    assert cni.apply(WANTED) == ()


def test_odd_things_in_the_folder_do_not_disturb(cni: CniDirectory, folder: Path):
    (folder / "00-folder.conflist").mkdir()
    (folder / "00-nowhere.conflist").symlink_to("/nonexistent")
    os.mkfifo(folder / "00-pipe.conflist")
    (folder / os.fsdecode(b"99-\xff.conflist")).write_bytes(b"{}")
    assert cni.apply(WANTED) == ()
    assert cni.read() == render(WANTED)


def test_a_missing_folder_is_named(config: Cni, tmp_path: Path):
    absent = CniDirectory(replace(config, directory=str(tmp_path / "absent")))
    assert absent.apply(None) == ()
    with pytest.raises(DriverError, match=r"the folder .*/absent does not exist; create it"):
        absent.apply(WANTED)


def test_a_folder_in_the_files_place_is_an_error_and_leaves_no_draft(
    cni: CniDirectory, folder: Path
):
    cni.path.mkdir()
    with pytest.raises(DriverError, match=r"10-kroute.conflist: Is a directory"):
        cni.apply(WANTED)
    assert names(folder) == ["10-kroute.conflist"]


@pytest.mark.root
def test_a_full_disk_is_an_error_that_leaves_the_old_file_whole(config: Cni, small: Path):
    cni = CniDirectory(replace(config, directory=str(small)))
    cni.apply(WANTED)
    filler = small / "filler"
    filler.write_bytes(b"x" * 4096)
    with pytest.raises(DriverError, match=r"10-kroute.conflist: No space left on device"):
        cni.apply(MOVED)
    assert names(small) == ["10-kroute.conflist", "filler"]
    assert cni.read() == render(WANTED)
    filler.unlink()
    cni.apply(MOVED)
    assert cni.read() == render(MOVED)


@pytest.mark.root
def test_a_read_only_folder_is_an_error_in_words(config: Cni, small: Path):
    cni = CniDirectory(replace(config, directory=str(small)))
    cni.apply(WANTED)
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    assert cni.apply(WANTED) == ()
    with pytest.raises(DriverError, match=r"cannot write .*: Read-only file system"):
        cni.apply(MOVED)


def test_an_unknown_cni_version_is_a_driver_error(cni: CniDirectory):
    with pytest.raises(DriverError, match=r"CNI version '9.9' is none of"):
        cni.apply(replace(WANTED, cni_version="9.9"))


def test_cleanup_removes_our_file_and_draft_and_nothing_else(cni: CniDirectory, folder: Path):
    cni.apply(WANTED)
    draft = folder / ".10-kroute.conflist.kroute-tmp"
    draft.write_text("half")
    (folder / "05-other.conflist").write_text("{}")
    assert cni.cleanup() == [f"file {draft}", f"file {cni.path}"]
    assert names(folder) == ["05-other.conflist"]
    assert cni.cleanup() == []


def test_cleanup_leaves_a_file_of_our_name_that_is_another_network(cni: CniDirectory, folder: Path):
    cni.path.write_text('{"name":"other","plugins":[{"type":"ptp"}]}')
    assert cni.cleanup() == []
    assert names(folder) == ["10-kroute.conflist"]


def test_cleanup_without_a_folder_finds_nothing(config: Cni, tmp_path: Path):
    assert CniDirectory(replace(config, directory=str(tmp_path / "absent"))).cleanup() == []


def test_leases_are_removed_and_what_is_no_lease_stays(cni: CniDirectory, tmp_path: Path):
    leases = tmp_path / "leases" / "kroute"
    leases.mkdir(parents=True)
    for name in ("10.244.1.2", "fd00:10:244:1::2", "last_reserved_ip.0", "lock"):
        (leases / name).touch()
    assert cni.remove_leases() == [f"leases in {leases}"]
    assert not leases.exists()
    assert cni.remove_leases() == []
    leases.mkdir()
    (leases / "notes").touch()
    cni.remove_leases()
    assert names(leases) == ["notes"]


@pytest.mark.root
def test_the_bridge_is_removed_and_another_interface_of_its_name_is_not():
    with Lab("cni") as lab:
        home = lab.namespace("n")
        home.ip("link add kroute0 type bridge")
        home.ip("link add other0 type bridge")
        home.ip("link add kroute1 type veth peer name other1")
        with home.entered():
            assert remove_bridge("kroute0") == ["bridge kroute0"]
            assert remove_bridge("kroute0") == []
            with pytest.raises(DriverError, match="kroute1 stays: it is no bridge"):
                remove_bridge("kroute1")
        links: Any = home.ip("-br link")
        assert "kroute0" not in links
        assert "other0" in links
        assert "kroute1" in links
