"""host-local's leases on disk, in its own format and under its own lock, so that plugin and daemon see the same.

A lease is a file named after the address; its content is the container's id, CR LF, the interface. The last address
handed out of range N is in ``last_reserved_ip.N``; the next search starts behind it. All of it is guarded by
flock(2) on the file ``lock`` (containernetworking/plugins, plugins/ipam/host-local/backend/disk).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Self

from kroute.drivers.kni.spares import PREFIX, Spares
from kroute.model.kni import KniError, Pool, Refusal
from kroute.model.net import Address, Prefix

DEFAULT = "/var/lib/cni/networks"
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT)
_LONGEST = 64
"""Octets of an address in text."""


Given = tuple[str, str, tuple[str, ...]]
"""A container's id, its interface, and the addresses to release; without addresses all that it holds."""


class Leases:
    """The leases of one network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spares = Spares()

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold host-local's lock; other processes and threads wait. Gives a descriptor of the folder.

        Raises:
            KniError: the folder cannot be had, or the disk does not do what is asked of it inside.
        """
        opened: list[int] = []
        try:
            opened.append(self._lock())
            fcntl.flock(opened[0], fcntl.LOCK_EX)
            opened.append(os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            yield opened[1]
        except OSError as error:
            reason = f"leases in {self.folder}: {error.strerror}"
            raise KniError(Refusal.UNAVAILABLE, reason) from error
        finally:
            for descriptor in reversed(opened):
                os.close(descriptor)

    def _lock(self) -> int:
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(f"{self.folder}/lock", flags, 0o750)
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True)
            return os.open(f"{self.folder}/lock", flags, 0o750)

    def take(self, container: str, interface: str, ranges: tuple[Prefix, ...]) -> list[Address]:
        """One address of each range, as host-local would choose them; all or none.

        Raises:
            KniError: a range is full, or the disk cannot be written.
        """
        taken: list[Address] = []
        text = _owner(container, interface)
        with self.locked() as folder, _Owner(folder, text, self._spares) as owner:
            try:
                for number, prefix in enumerate(ranges):
                    taken.append(self._take(folder, prefix, number, owner))
            except (OSError, KniError):
                for address in taken:
                    _unlink(folder, str(address))
                raise
        return taken

    def _take(self, folder: int, prefix: Prefix, number: int, owner: _Owner) -> Address:
        with _Last(folder, number) as last:
            used: Collection[str] = ()
            for address in _candidates(prefix, last.address):
                name = str(address)
                if name in used:
                    continue
                if owner.claim(name):
                    last.put(name)
                    return address
                # The first is nearly always free; only where it is not, is the folder read.
                used = used or set(os.listdir(folder))
        raise KniError(
            Refusal.EXHAUSTED,
            f"no free address is left for pods on this node: range {prefix} is full ({self.folder})",
        )

    def give_back(self, *given: Given) -> None:
        """Release addresses as far as these containers hold them.

        Raises:
            KniError: the disk cannot be written.
        """
        with self.locked() as folder:
            for container, interface, addresses in given:
                owner = _owner(container, interface)
                for name in addresses or _leases_in(folder):
                    same = _read(folder, name, len(owner) + 2).strip() == owner
                    if same and not self._spares.keep(folder, name):
                        _unlink(folder, name)

    def held(self, older_than: float = 0.0) -> dict[str, str]:
        """Container ids by address, of leases at least ``older_than`` seconds old; empty where a crash left none."""
        found: dict[str, str] = {}
        for path in _entries(self.folder):
            with suppress(OSError, ValueError):
                ip_address(path.name)
                if time.time() - path.stat().st_mtime >= older_than:
                    found[path.name] = path.read_text().partition("\n")[0].strip()
        return found

    def release(self, address: str, container: str, older_than: float = 0.0) -> None:
        """Remove one lease if this container still holds it, and has not taken it anew meanwhile."""
        with self.locked(), suppress(OSError):
            path = self.folder / address
            if time.time() - path.stat().st_mtime < older_than:
                return
            if path.read_text().partition("\n")[0].strip() == container:
                path.unlink()

    def pools(self, ranges: tuple[Prefix, ...]) -> tuple[Pool, ...]:
        """How full each range is; leases of former ranges take no room in them."""
        names: list[str] = []
        with suppress(OSError):
            names = os.listdir(self.folder)  # noqa: PTH208 - hundreds of names, without a Path for each
        numbers = {4: _numbers(names, socket.AF_INET), 6: _numbers(names, socket.AF_INET6)}
        found = []
        for prefix in ranges:
            first = int(prefix.network_address)
            within = range(first, first + prefix.num_addresses)
            used = sum(number in within for number in numbers[prefix.version])
            found.append(Pool(prefix=str(prefix), size=_size(prefix), used=used))
        return tuple(found)


class _Owner:
    """Who takes leases: a file that says so, which becomes a lease when it is linked under an address.

    A lease thus appears with its owner in it: a crash in between must not leave one that is nobody's. The leases of
    one pod are links to one file, which costs the disk one file instead of several: a spare one, or else one without
    a name.
    """

    def __init__(self, folder: int, text: bytes, spares: Spares) -> None:
        self._folder = folder
        self._text = text
        self._spares = spares
        self._spare = ""
        self._file = -1
        self._has_claimed = False

    def __enter__(self) -> Self:
        spare = self._spares.borrow(self._folder)
        if spare is not None:
            self._spare, self._file = spare
            os.pwrite(self._file, self._text, 0)
            os.ftruncate(self._file, len(self._text))
            return self
        flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
        try:
            self._file = os.open(".", flags, 0o644, dir_fd=self._folder)
        except OSError as error:
            if error.errno not in _NO_NAMELESS_FILES:
                raise
        else:
            os.write(self._file, self._text)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)
        if self._spare and self._has_claimed:
            _unlink(self._folder, self._spare)
        elif self._spare:
            self._spares.put_back(self._spare)

    def claim(self, name: str) -> bool:
        """Take a lease; False where somebody has it."""
        try:
            if self._file < 0:
                self._write(name)
                return True
            # Python follows the link that /proc/self/fd is only where a folder is named.
            source = self._spare or f"/proc/self/fd/{self._file}"
            os.link(source, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except FileExistsError:
            return False
        self._has_claimed = True
        return True

    def _write(self, name: str) -> None:
        """Where the file system has no files without names."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(name, flags, 0o644, dir_fd=self._folder)
        try:
            os.write(file, self._text)
        except OSError:
            _unlink(self._folder, name)
            raise
        finally:
            os.close(file)


class _Last:
    """The last address handed out of a range; overwritten in place, as a crash in between costs no more than a hint."""

    def __init__(self, folder: int, number: int) -> None:
        self._folder, self._name = folder, f"last_reserved_ip.{number}"
        self._file = -1
        self._length = 0
        self.address: Address | None = None

    def __enter__(self) -> Self:
        with suppress(FileNotFoundError):
            self._file = os.open(self._name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._folder)
            text = os.read(self._file, _LONGEST)
            self._length = len(text)
            with suppress(ValueError):
                self.address = ip_address(text.decode("ascii", "replace").strip())
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    def put(self, address: str) -> None:
        """Write another one."""
        if self._file < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(self._name, flags, 0o644, dir_fd=self._folder)
        data = address.encode()
        os.pwrite(self._file, data, 0)
        if len(data) < self._length:
            os.ftruncate(self._file, len(data))


def _numbers(names: Iterable[str], family: socket.AddressFamily) -> list[int]:
    """The addresses of a family among names of files."""
    mark, found = ":" if family is socket.AF_INET6 else ".", []
    for name in names:
        if mark in name and name[0] != ".":
            with suppress(OSError):
                found.append(int.from_bytes(socket.inet_pton(family, name)))
    return found


def _owner(container: str, interface: str) -> bytes:
    return f"{container}\r\n{interface}".encode()


def _read(folder: int, name: str, length: int) -> bytes:
    """The beginning of a file; empty where there is none."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return b""
    try:
        return os.read(file, length)
    finally:
        os.close(file)


def _leases_in(folder: int) -> list[str]:
    return [name for name in os.listdir(folder) if not name.startswith(PREFIX)]


def _unlink(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def leases_of(network: Mapping[str, Any]) -> Leases | None:
    """The leases of a conflist's network; None where its first plugin does not use host-local."""
    ipam = network["plugins"][0].get("ipam") or {}
    if not isinstance(ipam, dict) or ipam.get("type") != "host-local":
        return None
    return Leases(Path(ipam.get("dataDir") or DEFAULT) / network["name"])


def ranges_of(network: Mapping[str, Any]) -> tuple[Prefix, ...]:
    """The ranges of a conflist that are plain subnets; empty where anything else is said."""
    ipam = network["plugins"][0].get("ipam") or {}
    try:
        sets = [
            ranges for ranges in ipam["ranges"] if [*ranges[0]] == ["subnet"] and len(ranges) == 1
        ]
        if len(sets) != len(ipam["ranges"]):
            return ()
        return tuple(ip_network(ranges[0]["subnet"]) for ranges in sets)
    except (KeyError, TypeError, IndexError, ValueError):
        return ()


def _entries(folder: Path) -> list[Path]:
    try:
        return [*folder.iterdir()]
    except OSError:
        return []


def _size(prefix: Prefix) -> int:
    """Addresses for pods: not the network's, the gateway's, and IPv4's broadcast."""
    return max(prefix.num_addresses - (3 if prefix.version == 4 else 2), 0)


def _candidates(prefix: Prefix, last: Address | None) -> Iterator[Address]:
    """Addresses from behind the last one, once around; never the network's, the gateway's (the first) or broadcast."""
    base = int(prefix.network_address)
    size = prefix.num_addresses - (1 if prefix.version == 4 else 0)
    make = type(prefix.network_address)
    start = int(last) - base if last is not None and last in prefix else 1
    for step in range(1, size):
        offset = (start + step - 1) % (size - 1) + 1
        if offset > 1:
            yield make(base + offset)
