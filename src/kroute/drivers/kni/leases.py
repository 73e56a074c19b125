"""host-local's leases on disk, in its own format and under its own lock, so that plugin and daemon see the same.

A lease is a file named after the address; its content is the container's id, CR LF, the interface. The last address
handed out of range N is in ``last_reserved_ip.N``; the next search starts behind it. All of it is guarded by
flock(2) on the file ``lock`` (containernetworking/plugins, plugins/ipam/host-local/backend/disk).
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from kroute.model.kni import KniError, Pool, Refusal
from kroute.model.net import Address, Prefix

DEFAULT = "/var/lib/cni/networks"


class Leases:
    """The leases of one network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold host-local's lock; other processes and threads wait."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / "lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o750)
        except OSError as error:
            raise KniError(
                Refusal.UNAVAILABLE, f"leases in {self.folder}: {error.strerror}"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def take(self, container: str, interface: str, ranges: tuple[Prefix, ...]) -> list[Address]:
        """One address of each range, as host-local would choose them; all or none.

        Raises:
            KniError: a range is full, or the disk cannot be written.
        """
        taken: list[Address] = []
        owner = f"{container}\r\n{interface}".encode()
        with self.locked():
            try:
                used = {entry.name for entry in os.scandir(self.folder)}
                for number, prefix in enumerate(ranges):
                    taken.append(self._take(prefix, number, used, owner))
            except (OSError, KniError) as error:
                for address in taken:
                    (self.folder / str(address)).unlink(missing_ok=True)
                if isinstance(error, KniError):
                    raise
                reason = f"leases in {self.folder}: {error.strerror}"
                raise KniError(Refusal.UNAVAILABLE, reason) from error
        return taken

    def _take(self, prefix: Prefix, number: int, used: set[str], owner: bytes) -> Address:
        for address in _candidates(prefix, self._last(number)):
            if str(address) in used:
                continue
            self._claim(str(address), owner)
            self._write(f"last_reserved_ip.{number}", str(address).encode(), os.O_TRUNC)
            return address
        raise KniError(
            Refusal.EXHAUSTED,
            f"no free address is left for pods on this node: range {prefix} is full ({self.folder})",
        )

    def _claim(self, name: str, owner: bytes) -> None:
        """A lease that appears with its owner in it: a crash in between must not leave one that is nobody's."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            file = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=folder)
            try:
                os.write(file, owner)
                # Python follows the link that /proc/self/fd is only where a folder is named.
                os.link(f"/proc/self/fd/{file}", name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                os.close(file)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
                raise
            self._write(name, owner, os.O_EXCL)  # a file system without nameless files
        finally:
            os.close(folder)

    def _write(self, name: str, content: bytes, flags: int) -> None:
        path = f"{self.folder}/{name}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)
        try:
            os.write(file, content)
        except OSError:
            if flags & os.O_EXCL:
                os.unlink(path)  # noqa: PTH108 - a path of text, once for each pod
            raise
        finally:
            os.close(file)

    def _last(self, number: int) -> Address | None:
        try:
            return ip_address((self.folder / f"last_reserved_ip.{number}").read_text().strip())
        except (OSError, ValueError):
            return None

    def give_back(self, container: str, interface: str, addresses: tuple[str, ...] = ()) -> None:
        """Release these addresses as far as this container holds them; without addresses, all that it holds.

        Raises:
            KniError: the disk cannot be written.
        """
        owner = f"{container}\r\n{interface}".encode()
        with self.locked():
            for name in addresses or [entry.name for entry in os.scandir(self.folder)]:
                path = self.folder / name
                with suppress(FileNotFoundError):
                    try:
                        if path.read_bytes().strip() == owner:
                            path.unlink()
                    except FileNotFoundError:
                        raise
                    except OSError as error:
                        raise KniError(
                            Refusal.UNAVAILABLE, f"lease {path}: {error.strerror}"
                        ) from error

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
        """How full each range is."""
        used = {4: 0, 6: 0}
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                name = entry.name
                if ":" in name:
                    used[6] += 1
                elif name.count(".") == 3:
                    used[4] += 1
        return tuple(Pool(prefix=str(p), size=_size(p), used=used[p.version]) for p in ranges)


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
