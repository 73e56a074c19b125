"""Network namespaces that are made for pods before they are attached (CreateNetwork, CreateIsolationDomain)."""

from __future__ import annotations

import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from kroute.drivers.kni import netns as ns
from kroute.drivers.kni.locks import Locks
from kroute.drivers.kni.store import Store
from kroute.model.kni import CreateReply, CreateRequest, DeleteRequest, Domain, KniError, Refusal

log = logging.getLogger(__name__)

_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


class Domains:
    """Bind mounts that outlive the daemon; each is in the store, so that what is foreign is never removed."""

    def __init__(
        self,
        store: Store,
        locks: Locks,
        folder: Path,
        deadline: float,
        detach: Callable[[str], None],
    ) -> None:
        """``folder`` is where namespaces go that name no other place; ``deadline`` the seconds to wait for a lock."""
        self._store = store
        self._locks = locks
        self._default = folder
        self._deadline = deadline
        self._detach = detach

    def create(self, request: CreateRequest) -> CreateReply:
        """Make a network namespace that outlives the daemon; the same pod gets the same one while it is unused.

        Raises:
            KniError: the kernel or the disk refuses; nothing is left then.
        """
        folder = self._folder(request.netns_path_prefix)
        name = _plain(request.namespace, request.name)
        with self._locks.held(_making(name), self._deadline):
            for domain in self._named(request.name, request.namespace):
                usable = not domain.intent and ns.lives(domain.path)
                if usable and not self.inside(domain.path):
                    # a late deletion by its former container is none of this one
                    self._give(domain, "")
                    return CreateReply(netns_path=domain.path)
            return CreateReply(netns_path=self._create(folder, name, request))

    def made_for(self, container: str, name: str, namespace: str) -> str:
        """The namespace that was made for a pod; empty where none was. Of several the container's own, or one that
        nobody is in: the others are those of former sandboxes."""
        mine = [d for d in self._named(name, namespace) if not d.intent]
        own = [d for d in mine if d.container == container]
        free = [d for d in mine if not d.container] or [d for d in mine if not self.inside(d.path)]
        latest = max(own or free or mine, key=lambda d: d.since, default=None)
        return latest.path if latest else ""

    @contextmanager
    def entered(self, path: str, container: str, patience: float) -> Iterator[int]:
        """A descriptor of the namespace at a path, ours or not, in which a container is being attached. Nobody else
        attaches in it meanwhile, nor does garbage collection remove it.

        Raises:
            KniError: there is none, another call was at it for ``patience`` seconds, or the disk refuses.
        """
        netns = ns.open_netns(path)
        try:
            found = os.fstat(netns)
            with self._locks.held(_attaching(found.st_ino), patience):
                if ns.identity(path) != (found.st_dev, found.st_ino):
                    raise ns.nowhere(path)  # it has been removed while this call waited
                domain = self._store.domains.get(path)
                if domain is not None and domain.container != container:
                    self._give(domain, container)
                yield netns
        finally:
            os.close(netns)

    def delete(self, request: DeleteRequest) -> None:
        """Detach what is in the namespace and remove it (C11); unknown is no error. Foreign namespaces are left.

        Raises:
            KniError: a plugin or the kernel refused.
        """
        paths = {request.netns_path} if request.netns_path else set()
        known = self._store.attachments.get(request.id)
        if known is not None:
            paths.add(known.netns)
        paths |= {d.path for d in self._meant(request)}
        containers = {c for path in paths for c in self.inside(path)}
        for container in containers | ({request.id} if request.id else set()):
            self._detach(container)
        for path in paths & set(self._store.domains):
            self.discard(path)
            log.info("removed network namespace %s", path)

    def _meant(self, request: DeleteRequest) -> list[Domain]:
        """The one that the container was in, also if it has been detached since. Otherwise those made for the pod that
        nobody is in, as others may be those of its next sandbox; all of them only where no container is named."""
        last = [d for d in list(self._store.domains.values()) if d.container == request.id != ""]
        named = self._named(request.name, request.namespace)
        free = [d for d in named if not self.inside(d.path)]
        return last or free if request.id else free or named

    def _named(self, name: str, namespace: str) -> list[Domain]:
        every = list(self._store.domains.values()) if name else ()
        return [d for d in every if (d.name, d.namespace) == (name, namespace)]

    def _give(self, domain: Domain, container: str) -> None:
        """Note whose it is from now on; whoever thought it unused is wrong."""
        given = replace(domain, container=container, since=time.time())
        self._store.put_domain(given, synced=False)

    def _folder(self, prefix: str) -> Path:
        if not prefix:
            return self._default
        plain = prefix.startswith("/") and prefix.isprintable()
        if not plain or ".." in Path(prefix).parts:
            raise KniError(Refusal.INVALID, f"netns_path_prefix {prefix!r} is no absolute folder")
        return Path(prefix)

    def is_busy(self, domain: Domain) -> bool:
        """Whether a call is giving it away or attaching in it just now."""
        return any(self._locks.is_held(name) for name in _locks_of(domain))

    def release(self, path: str, why: Callable[[Domain], bool]) -> bool:
        """Remove a namespace that nobody needs; whether that is still so once no call is at it, as ``why`` says then.

        Raises:
            KniError: a call that is at it does not end; the kernel or the disk refuses.
        """
        domain = self._store.domains.get(path)
        if domain is None:
            return False
        making, attaching = _locks_of(domain)
        with self._locks.held(making, self._deadline), self._locks.held(attaching, self._deadline):
            now = self._store.domains.get(path)
            if now is None or now.intent or not why(now):
                return False
            self.discard(path)
        return True

    def discard(self, path: str) -> None:
        """Remove a namespace, or what is left of it, and its record.

        Raises:
            KniError: the kernel or the disk refuses.
        """
        ns.remove(path)
        self._store.remove_domain(path)

    def recover(self) -> None:
        """Undo what an earlier life was making and told nobody of."""
        for domain in [d for d in self._store.domains.values() if d.intent]:
            log.warning("network namespace %s was being made: undone", domain.path)
            try:
                self.discard(domain.path)
            except KniError as error:
                log.error("%s is tried again at the next start: %s", domain.path, error)

    def _create(self, folder: Path, plain: str, request: CreateRequest) -> str:
        names = [f"kni-{plain}"] if plain else []
        names.append(f"kni-{plain + '-' if plain else ''}{uuid.uuid4().hex[:12]}")
        for path in (folder / name for name in names):
            if os.path.lexists(path) or str(path) in self._store.domains:
                continue
            intent = Domain(
                path=str(path),
                name=request.name,
                namespace=request.namespace,
                since=time.time(),
                intent=True,
            )
            if self._make(intent):
                return str(path)
        raise KniError(Refusal.BROKEN, f"no free name for a namespace in {folder}")

    def _make(self, intent: Domain) -> bool:
        """Record, make, record that it is made; false where somebody else took the path meanwhile."""
        self._store.put_domain(intent, synced=False)
        try:
            ns.create(Path(intent.path))
            self._store.put_domain(replace(intent, intent=False))
        except FileExistsError:
            self._store.remove_domain(intent.path)
            return False
        except OSError as error:
            self._store.remove_domain(intent.path)
            reason = f"cannot make {intent.path}: {error.strerror}"
            raise KniError(Refusal.BROKEN, reason) from error
        except KniError:
            with suppress(KniError):  # it stays an intent, which the next start undoes
                self.discard(intent.path)
            raise
        return True

    def inside(self, path: str) -> list[str]:
        """Who is attached in it, by whatever path he said it: /var/run is /run."""
        found = ns.identity(path) if ns.lives(path) else None
        inode = found[1] if found else -1
        known = list(self._store.attachments.values())
        return [a.id for a in known if a.netns == path or a.inode == inode]


def _plain(namespace: str, name: str) -> str:
    """A pod as a part of a file's name."""
    return _UNSAFE.sub("-", "-".join(p for p in (namespace, name) if p))[:180]


def _making(plain: str) -> str:
    """The lock of who makes or gives away namespaces for pods of this name."""
    return f"domain {plain}"


def _attaching(inode: int) -> str:
    """The lock of who attaches something in a namespace, by whatever path it is called. A pod's own comes first."""
    return f"netns {inode}"


def _locks_of(domain: Domain) -> tuple[str, str]:
    """The locks of those who may come to use it, in the order in which they are taken."""
    found = ns.identity(domain.path)
    return _making(_plain(domain.namespace, domain.name)), _attaching(found[1] if found else 0)
