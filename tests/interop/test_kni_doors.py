"""What others do to the sockets of a running server: undone within a second, and nobody else is displaced."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from kroute.drivers.kni.client import KniClient, Refused
from kroute.drivers.kni.door import take
from kroute.drivers.kni.meter import Meter
from kroute.drivers.kni.server import KniServer
from kroute.model.errors import DriverError
from kroute.model.kni import Generation
from support.daemon import Site as Cluster
from support.kni import KniNode
from support.kni_daemon import client, kni_node, metrics, ready
from support.netns import wait_for
from support.nobody import as_user

pytestmark = pytest.mark.root

VISITOR = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
print("in", flush=True)
while s.recv(4096):
    pass
print("out", flush=True)
"""
"""Connects, and says so; says when the connection has been ended, and waits no longer than a test may."""


class Site:
    """A server on two sockets, and all that it says is wrong."""

    def __init__(self, node: KniNode) -> None:
        self.node = node
        self.folder = node.folder / "run"
        self.folder.mkdir()
        node.folder.chmod(0o755)
        self.path, self.second = self.folder / "kni.sock", node.folder / "second.sock"
        self.wrong: list[str] = []
        self.server = KniServer(node.core(), Meter(), on_doors=self._told)
        self.server.start(take((self.path, self.second)))

    def _told(self, problems) -> None:
        self.wrong = [problem.reason for problem in problems]

    def answers(self, path: Path | None = None) -> bool:
        """Whether gRPC does there: a SETTINGS frame greets who comes. Its own clients would share what they have."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5.0)
            probe.connect(str(path or self.path))
            return probe.recv(4)[3:] == b"\x04"
        return False

    def inode(self) -> int:
        with suppress(FileNotFoundError):
            return self.path.stat().st_ino
        return 0

    def mended(self, harm: str) -> int:
        return self.server.guard.mended[str(self.path), harm]

    def nobody_looking(self):
        """What is done in here happens between two looks."""
        return self.server.guard._mutex

    def left(self) -> list[str]:
        """What is at or beside the paths, but for the locks: they stay between lives."""
        folders = (self.folder, self.node.folder)
        found = [path.name for folder in folders for path in folder.glob("*kni.sock*")]
        found += [path.name for folder in folders for path in folder.glob(".*")]
        return [name for name in found if not name.endswith(".lock")]


@pytest.fixture
def site():
    with KniNode() as node:
        made = Site(node)
        yield made
        made.server.stop(0)


@contextmanager
def visitor(path: Path, user: int = 65534):
    """A process of this user that is connected."""
    command = [*as_user(user), sys.executable, "-c", VISITOR]
    with subprocess.Popen([*command, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "in\n"
            yield process
        finally:
            process.kill()


@contextmanager
def watched(path: Path):
    """A call that lasts: who ends its connection ends it, and ``wait`` says whether that has happened."""
    with KniClient(str(path)) as wire:
        stream = wire._channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert next(stream) == b"\x08\x01"
        yield stream
        stream.cancel()


@contextmanager
def foreign(path: Path):
    """Another process that took the path away and listens there, as servers of grpcio do."""
    code = (
        "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); "
        "s.listen(); print(flush=True); time.sleep(600)"
    )
    path.unlink(missing_ok=True)
    # The guard may be quicker than a process: bind beside, move over.
    draft = path.with_name("foreign")
    command = [sys.executable, "-c", code, str(draft)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            draft.replace(path)
            yield process
        finally:
            process.kill()


def test_c1_a_removed_socket_is_back_at_once_and_its_connections_live_on(site, caplog):
    before = site.inode()
    with watched(site.path) as stream:
        for times in (1, 2):
            site.path.unlink()
            wait_for(lambda: site.inode() == before, 3.0, "the same socket to be back")
            assert site.answers()
            wait_for(lambda times=times: site.mended("removed") == times, what="the count")
        assert stream.is_active()
    assert caplog.text.count(f"KNI socket {site.path} was removed") == 2
    assert site.wrong == []


def test_c1_a_socket_that_was_removed_with_everything_beside_it_is_made_anew(site):
    with KniClient(str(site.path), Generation.V008, timeout=10.0) as wire:
        assert wire.nodes().networks
        shutil.rmtree(site.folder)
        wait_for(site.answers, 5.0, "a server at the path")
        assert stat.S_IMODE(site.path.stat().st_mode) == 0o600
        wait_for(lambda: site.mended("lost") == 1, what="the count")
        wait_for(lambda: _nodes(wire), 5.0, "the client that was connected to come to the new one")
        with pytest.raises(DriverError, match="another"):
            take((site.path,))
        shutil.rmtree(site.folder)
        wait_for(lambda: _nodes(wire) and site.mended("lost") == 2, 5.0, "the same once more")
    assert site.answers(site.second)
    site.server.stop(0)
    assert site.left() == []


def _nodes(wire: KniClient) -> bool:
    with suppress(Refused):
        return bool(wire.nodes().networks)
    return False


def test_c1_the_second_name_is_kept_too(site):
    """It is the one by which the kernel knows the socket, and so cleaners of /tmp know that it is alive."""
    (folder,) = site.folder.glob(".*")
    assert f"{folder}/s" in Path("/proc/net/unix").read_text().split()
    assert (folder / "s").samefile(site.path)
    shutil.rmtree(folder)
    wait_for(lambda: site.path.stat().st_nlink == 2, 3.0, "the second name to be made again")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = site.inode()
    site.path.unlink()
    wait_for(lambda: site.inode() == before, 3.0, "the same socket to be back")


def test_c1_where_links_are_not_to_be_had_a_removed_socket_is_made_anew(monkeypatch):
    def link(*_names, **_options):
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    with KniNode() as node:
        site = Site(node)
        assert site.answers()
        site.path.unlink()
        wait_for(lambda: site.mended("lost") == 1, 3.0, "the socket to be made anew")
        assert site.answers()
        site.server.stop(0)
        assert site.left() == []


def loosened(site: Site) -> None:
    site.path.chmod(0o666)


def given_away(site: Site) -> None:
    os.chown(site.path, 65534, 65534)


def all_loosened(site: Site) -> None:
    subprocess.run(["chmod", "-R", "777", str(site.folder)], check=True)


def all_given_away(site: Site) -> None:
    subprocess.run(["chown", "-R", "65534:65534", str(site.folder)], check=True)


def closed(site: Site) -> bool:
    found = site.path.stat()
    return (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o600, 0, 0)


@pytest.mark.parametrize("harm", [loosened, given_away, all_loosened, all_given_away])
def test_c1_a_loosened_socket_is_closed_again_and_who_got_in_is_put_out_by_name(
    site, harm: Callable[[Site], None], caplog
):
    with watched(site.path) as stream, ExitStack() as visitors:
        with site.nobody_looking():
            harm(site)
            process = visitors.enter_context(visitor(site.path))
            ours = visitors.enter_context(visitor(site.path, os.geteuid()))
        assert process.stdout.readline() == "out\n"
        wait_for(lambda: closed(site), 3.0, "mode and owner to be restored")
        wait_for(lambda: site.server.guard.strangers == 1, what="the count")
        assert f"pid {process.pid}, " in caplog.text
        assert "uid 65534" in caplog.text
        assert ours.poll() is None
        assert stream.is_active(), "root's connections are left alone"
    assert site.mended("access") >= 1
    assert re.search(
        rf"KNI socket {site.path} was open to others: mode 0\d+, owner \d+:\d+", caplog.text
    )
    for folder in site.folder.glob(".*"):
        assert (stat.S_IMODE(folder.stat().st_mode), folder.stat().st_uid) == (0o700, 0)
    wait_for(
        lambda: site.path.with_name("kni.sock.lock").stat().st_mode & 0o77 == 0, what="the lock"
    )
    site.server.stop(0)
    assert site.left() == []


def test_c1_who_got_in_between_two_looks_is_put_out_as_well(site):
    """Opened and closed again by whoever did it: the mode tells nothing any more, the time of change does."""
    with ExitStack() as visitors:
        with site.nobody_looking():
            site.path.chmod(0o666)
            process = visitors.enter_context(visitor(site.path))
            site.path.chmod(0o600)
        assert process.stdout.readline() == "out\n"


def test_c1_a_foreign_server_is_named_and_never_displaced_and_its_place_is_taken_when_it_goes(
    site, caplog
):
    before = site.inode()
    with foreign(site.path) as process:
        wait_for(lambda: site.wrong, 3.0, "the problem")
        (reason,) = site.wrong
        assert f"{site.path}: another network runtime answers there (pid {process.pid}, " in reason
        assert f"kubelets reach kroute at {site.second} only meanwhile" in reason
        there = site.inode()
        site.path.with_name("kni.sock.lock").unlink()  # two matters, each told
        wait_for(lambda: site.mended("lock") == 1, 3.0, "further looks")
        assert there == site.inode() != before
        assert site.answers(site.second)
        assert caplog.text.count("another network runtime answers there") == 1, "said once"
        site.path.unlink()
        wait_for(lambda: site.inode() == before and not site.wrong, 3.0, "its own to be back")
    with foreign(site.path) as process:
        wait_for(lambda: site.wrong, 3.0, "the problem")
        process.kill()  # leaves its socket: a dead server's is replaced as it is at the start
        wait_for(lambda: site.inode() == before and not site.wrong, 5.0, "its own to be back")
    assert site.answers()


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_c1_a_file_in_its_place_is_named_and_left_alone(site, what):
    before, draft = site.inode(), site.folder / "draft"
    site.path.unlink()
    while True:  # until we are quicker than the guard
        with suppress(FileExistsError):
            {
                "file": lambda: site.path.touch(exist_ok=False),
                "folder": site.path.mkdir,
                "link": lambda: site.path.symlink_to(draft),
            }[what]()
            break
        site.path.unlink()
    wait_for(lambda: site.wrong, 3.0, "the problem")
    assert "a file that is no socket is in the way" in site.wrong[0]
    site.server.guard.look()
    found = site.path.lstat().st_mode
    assert (stat.S_ISREG(found), stat.S_ISDIR(found), stat.S_ISLNK(found)) == (
        what == "file",
        what == "folder",
        what == "link",
    )
    site.path.rmdir() if what == "folder" else site.path.unlink()
    wait_for(lambda: site.inode() == before and not site.wrong, 3.0, "its own to be back")


def test_c1_a_removed_lock_lets_no_second_daemon_in_and_is_made_again(site):
    lock = site.path.with_name("kni.sock.lock")
    with site.nobody_looking():
        lock.unlink()
        with pytest.raises(DriverError, match="another network runtime answers there"):
            take((site.path,))  # the lock is free, but the socket answers
    wait_for(lambda: site.mended("lock") == 1, 3.0, "the lock to be held again")
    with pytest.raises(DriverError, match="another kroute daemon serves KNI"):
        take((site.path,))
    before = site.inode()
    with site.nobody_looking():
        for path in (lock, site.path):  # rm kni.sock*
            path.unlink()
        with pytest.raises(DriverError, match="another kroute daemon listens"):
            take((site.path,))  # even now: the second name of our socket answers
    wait_for(lambda: site.inode() == before and site.mended("lock") == 2, 3.0, "both to be back")
    assert site.answers()


def test_c1_a_lock_that_a_stranger_has_made_instead_is_told(site):
    lock = site.path.with_name("kni.sock.lock")
    draft = site.folder / "draft"
    draft.touch()
    os.chown(draft, 65534, 65534)
    draft.replace(lock)
    wait_for(lambda: site.wrong, 3.0, "the problem")
    assert "kni.sock.lock belongs to uid 65534" in site.wrong[0]
    assert f"kubelets reach kroute at {site.path}, {site.second} meanwhile" in site.wrong[0]
    lock.unlink()
    wait_for(lambda: not site.wrong, 3.0, "the lock to be held again")


def test_c1_nothing_is_put_back_once_the_server_ends(site):
    site.path.unlink()
    site.server.stop(0)
    assert site.left() == []
    site.server.guard.look()
    assert site.left() == []


def test_c1_after_sigkill_the_next_life_removes_the_second_name_of_the_former(site):
    """The former life is a process of its own, since only the kernel can end it without a word."""
    code = (
        "import sys, time; from pathlib import Path; from kroute.drivers.kni.door import take; "
        "from kroute.drivers.kni.meter import Meter; from kroute.drivers.kni.server import KniServer; "
        "server = KniServer(None, Meter()); server.start(take((Path(sys.argv[1]),))); "
        "print(flush=True); time.sleep(600)"
    )
    path = site.folder / "third.sock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    left = list(site.folder.glob(".third.sock-*"))
    assert len(left) == 1
    (door,) = take((path,))
    assert not left[0].exists()
    door.close()


def test_the_daemon_tells_of_a_taken_socket_in_its_problems_to_clients_and_in_metrics():
    with Cluster("kni") as cluster:
        node = kni_node(cluster)
        second = node.folder / "second.sock"
        node.configure(
            {"kni": {"enabled": True, "sockets": [str(node.folder / "kni.sock"), str(second)]}}
        )
        node.start()
        ready(node)
        path = node.folder / "kni.sock"
        assert f'kroute_kni_socket_in_place{{socket="{path}"}} 1.0' in metrics(node)
        path.chmod(0o666)
        told = f'kroute_kni_socket_mended_total{{harm="access",socket="{path}"}} 1.0'
        wait_for(lambda: told in metrics(node), 5.0, "the repair")
        with foreign(path) as process:
            wait_for(lambda: "kni" in node.problems(), 5.0, "the problem")
            assert f"(pid {process.pid}, " in node.problems()["kni"]
            assert f'kroute_kni_socket_in_place{{socket="{path}"}} 0.0' in metrics(node)
            with KniClient(str(second), Generation.V008) as wire:
                (own,) = wire.nodes().networks
            assert "another network runtime answers there" in own.extradata["problem"]
            assert own.ready, "pods of those who ask elsewhere are not to be evicted for it"
        wait_for(lambda: "kni" not in node.problems(), 5.0, "the problem to be solved")
        with client(node) as wire:
            assert wire.nodes().networks[0].extradata["problem"] == ""
