"""The CNI folder and the pod bridge: the file that the container runtime reads, and nobody else's.

Everything here may wait for a disk, so the daemon calls it from a thread. Errors are
:class:`DriverError`; the caller applies again later, and nothing is half done in between.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

from kroute.codec.conflist import SUFFIXES, Inspection, binaries, inspect, render
from kroute.model.cni import Conflist
from kroute.model.config import Cni
from kroute.model.errors import DriverError
from kroute.model.problem import Problem, Severity

_MODE = 0o600
"""Only the runtime reads the file, as root; CIS Kubernetes Benchmark 1.1.9 wants no more than
this.
"""
_MOST_OCTETS = 1 << 20
"""Longest file that is looked into; anything longer is no network configuration."""
_DEFAULT_LEASES = "/var/lib/cni/networks"


class CniDirectory:
    """One owner of ``directory/file``: writes it, judges its neighbours, removes it when told to.

    Law 3: a file of another name is never changed. Law 4: the file is replaced in one step, so a
    runtime or a crash sees the old one or the new one.
    """

    def __init__(self, config: Cni) -> None:
        self._config = config
        self._folder = Path(config.directory)
        self.path = self._folder / config.file
        """The own file."""
        self._draft = self._folder / f".{config.file}.kroute-tmp"
        """What is being written; no suffix that runtimes look at, and a name that only we use."""

    def read(self) -> bytes | None:
        """The own file's content; None where there is none.

        Raises:
            DriverError: it cannot be read.
        """
        with self._explained(f"cannot read {self.path}"):
            try:
                return _content(self.path)
            except FileNotFoundError:
                return None

    def apply(self, wanted: Conflist | None) -> tuple[Problem, ...]:
        """Make the file say what is wanted, and say what keeps pods from using it.

        None leaves the file as it is (law 2). Content that is there already is not written again.

        Raises:
            DriverError: the folder or the file cannot be used; the file is as it was before.
        """
        if not self._config.enabled:
            return ()
        self._discard_draft()
        if wanted is None:
            return ()
        content = _rendered(wanted)
        if self.read() != content:
            self._replace(content)
        return (*self._missing_binaries(wanted), *self._rivals(wanted))

    def cleanup(self) -> list[str]:
        """Remove the own file and a draft that a crash left; returns what was removed, in words.

        A file of our name whose content is another network's is left, whoever put it there.

        Raises:
            DriverError: a file cannot be removed.
        """
        removed = [f"file {self._draft}"] if self._discard_draft() else []
        content = self.read()
        if content is None or not self._is_ours(inspect(content)):
            return removed
        with self._explained(f"cannot remove {self.path}"):
            self.path.unlink(missing_ok=True)
            _sync_folder(self._folder)
        return [*removed, f"file {self.path}"]

    def remove_leases(self) -> list[str]:
        """Remove host-local's leases of our network, once no pod uses them; returns what was
        removed.

        Only files that host-local makes (addresses, ``last_reserved_ip.N``, ``lock``) are removed.

        Raises:
            DriverError: a file cannot be removed.
        """
        folder = Path(self._config.data_directory or _DEFAULT_LEASES) / self._config.network
        with self._explained(f"cannot remove {folder}"):
            try:
                leases = [entry for entry in folder.iterdir() if _is_lease(entry.name)]
            except FileNotFoundError:
                return []
            for lease in leases:
                lease.unlink(missing_ok=True)
            with suppress(OSError):  # what somebody else put there stays, and so does the folder
                folder.rmdir()
        return [f"leases in {folder}"]

    def _replace(self, content: bytes) -> None:
        with self._explained(f"cannot write {self.path}"):
            try:
                _write_synced(self._draft, content)
                self._draft.replace(self.path)
            except OSError:
                with suppress(OSError):
                    self._draft.unlink(missing_ok=True)
                raise
            _sync_folder(self._folder)

    def _discard_draft(self) -> bool:
        """Remove what an earlier life began to write; whether there was something."""
        if not os.path.lexists(self._draft):  # unlink(2) would fail on a read-only file system
            return False
        with self._explained(f"cannot remove {self._draft}"):
            self._draft.unlink(missing_ok=True)
        return True

    def _is_ours(self, seen: Inspection) -> bool:
        return seen.name == self._config.network or seen.bridge == self._config.bridge

    def _missing_binaries(self, wanted: Conflist) -> Iterator[Problem]:
        searched = [Path(folder) for folder in self._config.bin_directories]
        for name in binaries(wanted):
            if not any(_is_executable(folder / name) for folder in searched):
                yield Problem(
                    object=f"plugin/{name}",
                    field="cni.binDirectories",
                    reason=f"CNI plugin {name!r} is in none of {', '.join(map(str, searched))}: "
                    f"pods cannot start here until it is installed",
                    severity=Severity.ERROR,
                )

    def _rivals(self, wanted: Conflist) -> Iterator[Problem]:
        """Files that a runtime takes before ours, or that give our network's name to another."""
        own = os.fsencode(self.path.name)
        for path in self._neighbours():
            earlier = os.fsencode(path.name) < own
            seen = _look_into(path)
            reason = _rivalry(seen, earlier=earlier, same_name=seen.name == wanted.name)
            if reason:
                yield Problem(object=f"file/{path}", reason=f"{reason} ({self.path.name} is ours)")

    def _neighbours(self) -> list[Path]:
        """Other files that runtimes look at, in the order in which they do."""
        with self._explained(f"cannot list {self._folder}"):
            found = [p for p in self._folder.iterdir() if p.suffix in SUFFIXES and p.is_file()]
        return sorted((p for p in found if p != self.path), key=lambda p: os.fsencode(p.name))

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Operating-system errors as words that say what to look at."""
        try:
            yield
        except FileNotFoundError as error:
            raise DriverError(
                f"{what}: the folder {self._folder} does not exist; create it, or let cni.directory "
                "name the runtime's folder"
            ) from error
        except OSError as error:
            raise DriverError(f"{what}: {error.strerror or error}") from error


def remove_bridge(name: str) -> list[str]:
    """Remove the pod bridge, which cuts off the pods that are on it; returns what was removed.

    Raises:
        DriverError: the interface is there and is no bridge, or the kernel refuses.
    """
    from pyroute2 import IPRoute, NetlinkError  # a quarter second that only cleanup pays

    try:
        with IPRoute() as netlink:
            links = netlink.link("dump", ifname=name) if netlink.link_lookup(ifname=name) else ()
            for link in links:
                kind = (link.get_attr("IFLA_LINKINFO") or {}).get("attrs", ())
                if ("IFLA_INFO_KIND", "bridge") not in [tuple(a) for a in kind]:
                    raise DriverError(f"interface {name} stays: it is no bridge, so not ours")
                netlink.link("del", index=link["index"])
                return [f"bridge {name}"]
    except (NetlinkError, OSError) as error:
        raise DriverError(f"cannot remove bridge {name}: {error}") from error
    return []


def _rendered(wanted: Conflist) -> bytes:
    try:
        return render(wanted)
    except ValueError as error:
        raise DriverError(f"the conflist cannot be written: {error}") from error


def _write_synced(path: Path, content: bytes) -> None:
    """A new file with this content, on disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, _MODE)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """The folder's entries are on disk when this returns: a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _is_lease(name: str) -> bool:
    if name == "lock" or name.startswith("last_reserved_ip."):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _content(path: Path) -> bytes:
    """At most one octet more than :data:`_MOST_OCTETS`; a pipe put in the file's place cannot block
    us.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        return file.read(_MOST_OCTETS + 1)


def _look_into(path: Path) -> Inspection:
    try:
        data = _content(path)
    except OSError as error:
        return Inspection(fault=f"it cannot be read ({error.strerror or error})")
    if len(data) > _MOST_OCTETS:
        return Inspection(fault="it is longer than 1 MiB")
    return inspect(data, single=path.suffix != ".conflist")


def _rivalry(seen: Inspection, *, earlier: bool, same_name: bool) -> str:
    """Why a neighbour matters; empty where it does not."""
    if earlier and seen.fault:
        return (
            f"it sorts before our file and {seen.fault}: containerd stops at it and starts no "
            "pods, CRI-O passes over it. Repair, rename or remove it"
        )
    if earlier:
        return (
            f"it sorts before our file, so runtimes use its network {seen.name!r} and not ours. "
            "Rename or remove it, or let cni.file sort first"
        )
    if same_name and not seen.fault:
        return f"its network is called {seen.name!r} as ours is: both would share their leases"
    return ""
