"""libcni's records: written with their attach or soon after, never after their removal, completed by the next life."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kroute.drivers.kni.libcni import LibcniCache
from kroute.model.kni import Attachment, Generation, How, Phase, Wiring
from support.netns import wait_for

NETWORK = {"cniVersion": "1.0.0", "name": "kroute", "plugins": [{"type": "bridge"}]}


def attachment(name: str) -> Attachment:
    wirings = tuple(
        Wiring(interface=each, network=NETWORK, capabilities={}, args="", how=How.FAST)
        for each in ("eth0", "net1")
    )
    return Attachment(
        id=name,
        netns=f"/run/netns/{name}",
        inode=1,
        phase=Phase.ATTACHED,
        generation=Generation.V008,
        wirings=wirings,
    )


def written(folder: Path) -> set[str]:
    return {path.name for path in (folder / "results").glob("*") if path.stat().st_size}


BOTH = {"kroute-a-eth0", "kroute-a-net1"}


def test_without_delay_a_record_is_there_when_put_returns(tmp_path):
    cache = LibcniCache(str(tmp_path))
    cache.put(attachment("a"))
    assert written(tmp_path) == BOTH
    assert {json.loads(entry)["containerId"] for entry in cache.entries()} == {"a"}
    cache.remove(attachment("a"))
    assert written(tmp_path) == set()


def test_with_a_delay_records_follow_and_a_later_one_as_well(tmp_path):
    cache = LibcniCache(str(tmp_path), delay=0.001)
    for name in ("a", "b"):
        cache.put(attachment(name))
        wait_for(lambda name=name: f"kroute-{name}-net1" in written(tmp_path), what="written")
    cache.close()


def test_what_is_removed_before_its_record_was_written_never_gets_one(tmp_path):
    cache = LibcniCache(str(tmp_path), delay=3600.0)
    cache.put(attachment("a"))
    cache.put(attachment("b"))
    cache.remove(attachment("a"))
    cache.close()
    assert written(tmp_path) == {"kroute-b-eth0", "kroute-b-net1"}


def test_after_the_end_nothing_waits(tmp_path):
    cache = LibcniCache(str(tmp_path), delay=3600.0)
    cache.close()
    cache.put(attachment("a"))
    assert written(tmp_path) == BOTH


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_record_that_is_missing_or_empty_is_not_there(tmp_path, damage):
    cache = LibcniCache(str(tmp_path))
    assert not cache.has(attachment("a"))
    cache.put(attachment("a"))
    assert cache.has(attachment("a"))
    damage(max((tmp_path / "results").glob("*")))
    assert not cache.has(attachment("a"))
