"""The store: what was acknowledged is on disk, what could not be put there is refused, many wait for one sync."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from kroute.drivers.kni.store import Store
from kroute.model.kni import Attachment, Generation, KniError, Phase, Refusal
from support.netns import wait_for


def attachment(name: str, phase: Phase = Phase.ATTACHED) -> Attachment:
    return Attachment(
        id=name, netns=f"/run/netns/{name}", inode=1, phase=phase, generation=Generation.V008
    )


@pytest.fixture
def store(tmp_path: Path):
    made = Store(tmp_path / "kni.sqlite")
    yield made
    made.close()


def stored(path: Path) -> set[str]:
    """What another process sees."""
    with closing(sqlite3.connect(path)) as db:
        return {name for (name,) in db.execute("SELECT id FROM attachments")}


def test_what_many_threads_put_at_once_is_all_there_and_in_the_next_life_too(store):
    def work(number: int) -> None:
        store.put(attachment(f"p{number}", Phase.ATTACHING), synced=False)
        store.put(attachment(f"p{number}"), synced=True)
        if number % 3 == 0:
            store.remove(f"p{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {f"p{number}" for number in range(40) if number % 3}
    assert stored(store.path) == expected
    store.close()
    again = Store(store.path)
    assert set(again.attachments) == expected
    assert {a.phase for a in again.attachments.values()} == {Phase.ATTACHED}
    again.close()


def test_an_acknowledged_attachment_is_synced_after_its_commit_an_intent_is_not(store, monkeypatch):
    seen: list[set[str]] = []
    real = os.fdatasync

    def watching(file: int) -> None:
        assert Path(f"/proc/self/fd/{file}").readlink() == Path(f"{store.path}-wal")
        seen.append(stored(store.path))
        real(file)

    monkeypatch.setattr(os, "fdatasync", watching)
    store.put(attachment("a", Phase.ATTACHING), synced=False)
    assert seen == []
    store.put(attachment("b"), synced=True)
    assert seen == [{"a", "b"}]
    store.remove("b")
    assert len(seen) == 1


def test_others_write_while_one_waits_for_the_disk_and_share_the_next_sync(store, monkeypatch):
    syncing, go_on, syncs = threading.Event(), threading.Event(), []

    def slowly(file: int) -> None:
        syncs.append(file)
        syncing.set()
        go_on.wait(20.0)

    monkeypatch.setattr(os, "fdatasync", slowly)
    put = lambda name: store.put(attachment(name), synced=True)  # noqa: E731
    first = threading.Thread(target=put, args=("first",))
    first.start()
    assert syncing.wait(20.0)
    others = [threading.Thread(target=put, args=(f"o{i}",)) for i in range(5)]
    for thread in others:
        thread.start()
    store.put(attachment("intent", Phase.ATTACHING), synced=False)  # waits for no disk
    everything = {"first", "intent", *(f"o{i}" for i in range(5))}
    wait_for(lambda: stored(store.path) == everything, what="the others' commits")
    assert set(store.attachments) == {"intent"}
    go_on.set()
    for thread in (first, *others):
        thread.join()
    assert len(syncs) == 2
    assert len(store.attachments) == 7


def test_what_cannot_be_synced_is_refused_and_told_until_a_write_succeeds(store, monkeypatch):
    def failing(_file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(KniError) as caught:
            store.put(attachment("a"), synced=True)
    assert caught.value.refusal is Refusal.UNAVAILABLE
    assert "Input/output error" in store.fault
    assert "a" not in store.attachments
    store.put(attachment("a"), synced=True)
    assert store.fault == ""
    assert set(store.attachments) == {"a"}
