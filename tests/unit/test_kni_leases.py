"""Leases as host-local keeps them: files named after addresses, found and released as the plugin would."""

from __future__ import annotations

import errno
import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from kroute.drivers.kni import spares as spare_files
from kroute.drivers.kni.leases import Leases
from kroute.model.kni import KniError, Refusal

BOTH = (ip_network("10.9.0.0/29"), ip_network("fd00:9::/125"))
SMALL = (ip_network("10.9.0.0/29"),)


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path / "new" / "kroute")


def taken(leases: Leases, container: str, ranges=BOTH) -> list[str]:
    return [str(a) for a in leases.take(container, "eth0", ranges)]


def test_a_pod_s_leases_name_it_and_the_next_pod_gets_the_next_addresses(leases):
    assert taken(leases, "a") == ["10.9.0.2", "fd00:9::2"]
    assert taken(leases, "b") == ["10.9.0.3", "fd00:9::3"]
    for address in ("10.9.0.2", "fd00:9::2"):
        assert (leases.folder / address).read_bytes() == b"a\r\neth0"
    assert (leases.folder / "last_reserved_ip.0").read_text() == "10.9.0.3"
    assert (leases.folder / "last_reserved_ip.1").read_text() == "fd00:9::3"
    assert leases.held() == {
        "10.9.0.2": "a", "10.9.0.3": "b", "fd00:9::2": "a", "fd00:9::3": "b"
    }  # fmt: skip


def test_releasing_one_family_of_a_pod_leaves_the_other(leases):
    taken(leases, "a")
    leases.give_back(("a", "eth0", ("10.9.0.2",)))
    assert leases.held() == {"fd00:9::2": "a"}
    assert (leases.folder / "fd00:9::2").read_bytes() == b"a\r\neth0"


def test_only_the_owner_s_own_leases_are_given_back(leases):
    taken(leases, "a")
    taken(leases, "ab")
    leases.give_back(("a", "eth0", ("10.9.0.3", "fd00:9::3", "10.9.0.6")))
    leases.give_back(("a", "eth", ()))
    assert len(leases.held()) == 4
    leases.give_back(("a", "eth0", ()))
    assert set(leases.held().values()) == {"ab"}


def test_addresses_in_use_are_passed_over_and_the_search_goes_once_around(leases):
    for container in "abcde":
        taken(leases, container, SMALL)
    leases.give_back(("b", "eth0", ()))
    leases.give_back(("d", "eth0", ()))
    assert [taken(leases, c, SMALL) for c in "fg"] == [["10.9.0.3"], ["10.9.0.5"]]
    with pytest.raises(KniError) as caught:
        taken(leases, "h", SMALL)
    assert caught.value.refusal is Refusal.EXHAUSTED


def test_a_range_that_is_full_leaves_nothing_taken_of_the_others(leases):
    small = (BOTH[1], ip_network("10.9.0.0/30"))
    taken(leases, "a", small)
    with pytest.raises(KniError):
        taken(leases, "b", small)
    assert set(leases.held().values()) == {"a"}


@pytest.mark.parametrize("said", ["10.9.0.254", "", "no address", "10.9.0.2\n", "fd00:9::2"])
def test_whatever_the_last_address_says_a_free_one_is_found_and_written_whole(leases, said):
    taken(leases, "a", SMALL)
    (leases.folder / "last_reserved_ip.0").write_text(said)
    assert taken(leases, "b", SMALL) == ["10.9.0.3"]
    assert (leases.folder / "last_reserved_ip.0").read_text() == "10.9.0.3"


def test_a_file_system_without_nameless_files_holds_the_same_leases(leases, monkeypatch):
    real = os.open

    def refusing(path, flags, *rest, **more):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)
    assert taken(leases, "a") == ["10.9.0.2", "fd00:9::2"]
    assert taken(leases, "b") == ["10.9.0.3", "fd00:9::3"]
    assert (leases.folder / "fd00:9::3").read_bytes() == b"b\r\neth0"


def test_a_folder_that_cannot_be_written_is_told_with_its_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KniError) as caught:
        taken(Leases(tmp_path / "file" / "kroute"), "a")
    assert caught.value.refusal is Refusal.UNAVAILABLE
    assert str(tmp_path) in str(caught.value)


# --- spare files ----------------------------------------------------------------------------------------------


def spares(leases: Leases) -> set[str]:
    return {path.name for path in leases.folder.glob(".kroute-spare-*")}


def inode(leases: Leases, address: str) -> int:
    return (leases.folder / address).stat().st_ino


def test_the_file_of_a_lease_that_is_over_serves_the_next_one_and_is_no_lease_meanwhile(leases):
    taken(leases, "a-long-name")
    first = inode(leases, "10.9.0.2")
    leases.give_back(("a-long-name", "eth0", ()))
    leases.give_back(("a-long-name", "eth0", ()))
    assert leases.held() == {}
    assert [pool.used for pool in leases.pools(BOTH)] == [0, 0]
    assert len(spares(leases)) == 1
    assert taken(leases, "b") == ["10.9.0.3", "fd00:9::3"]
    assert inode(leases, "10.9.0.3") == inode(leases, "fd00:9::3") == first
    assert (leases.folder / "fd00:9::3").read_bytes() == b"b\r\neth0"
    assert spares(leases) == set()


def test_the_next_life_uses_spare_files_of_the_one_before(leases):
    taken(leases, "a")
    first = inode(leases, "10.9.0.2")
    leases.give_back(("a", "eth0", ()))
    taken(Leases(leases.folder), "b")
    assert inode(leases, "10.9.0.3") == first


def test_a_spare_file_that_became_a_lease_before_a_crash_is_not_written_again(leases):
    taken(leases, "a")
    (leases.folder / ".kroute-spare-10.9.0.2").hardlink_to(leases.folder / "10.9.0.2")
    taken(Leases(leases.folder), "b")
    assert leases.held()["10.9.0.2"] == "a"
    assert leases.held()["10.9.0.3"] == "b"
    assert spares(leases) == set()


def test_what_a_lease_shares_with_another_one_is_not_spare(leases):
    taken(leases, "a")
    leases.give_back(("a", "eth0", ("10.9.0.2",)))
    assert spares(leases) == set()
    leases.give_back(("a", "eth0", ("fd00:9::2",)))
    assert len(spares(leases)) == 1


def test_where_the_range_is_full_the_spare_file_stays_spare(leases):
    small = (ip_network("10.9.0.0/30"),)
    taken(leases, "a", small)
    taken(leases, "other", (BOTH[1],))
    leases.give_back(("other", "eth0", ()))
    for _ in range(3):
        with pytest.raises(KniError):
            taken(leases, "b", small)
        assert len(spares(leases)) == 1
    leases.give_back(("a", "eth0", ()))
    assert taken(leases, "b", small) == ["10.9.0.2"]
    assert leases.held() == {"10.9.0.2": "b"}


def test_no_more_files_are_kept_than_a_node_has_pods(leases, monkeypatch):
    monkeypatch.setattr(spare_files, "MOST", 2)
    for container in "abc":
        taken(leases, container, SMALL)
    for container in "abc":
        leases.give_back((container, "eth0", ()))
    assert len(spares(leases)) == 2
    assert leases.held() == {}


@pytest.mark.parametrize("thing", ["symlink", "folder"])
def test_what_is_no_file_of_ours_is_passed_over(leases, tmp_path, thing):
    taken(leases, "a")
    leases.give_back(("a", "eth0", ()))
    (name,) = spares(leases)
    (leases.folder / name).unlink()
    if thing == "symlink":
        (tmp_path / "victim").write_text("precious")
        (leases.folder / name).symlink_to(tmp_path / "victim")
    else:
        (leases.folder / name).mkdir()
    assert taken(leases, "b") == ["10.9.0.3", "fd00:9::3"]
    assert thing == "folder" or (tmp_path / "victim").read_text() == "precious"


def test_leases_of_a_former_range_take_no_room_in_the_present_one(leases):
    former = (ip_network("10.244.1.0/29"), ip_network("fd00:10:244:1::/64"))
    present = (ip_network("10.244.7.0/29"), ip_network("fd00:10:244:7::/126"))
    for number in range(5):
        leases.take(f"old{number}", "eth0", former)
    leases.take("new", "eth0", present)
    assert [(p.used, p.free) for p in leases.pools(former)] == [(5, 0), (5, 2**64 - 7)]
    assert [(p.used, p.free) for p in leases.pools(present)] == [(1, 4), (1, 1)]
