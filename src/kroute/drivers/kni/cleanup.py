"""What KNI made on a node is taken away: pods are detached, namespaces of CreateNetwork removed, sockets given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from kroute.codec.kni.veth import LinkState
from kroute.drivers.kni import marks
from kroute.drivers.kni.core import Core, Settings
from kroute.drivers.kni.door import take
from kroute.drivers.kni.fast import FastPath
from kroute.drivers.kni.leases import DEFAULT
from kroute.drivers.kni.libcni import LibcniCache
from kroute.drivers.kni.networks import Networks
from kroute.drivers.kni.plugins import Plugins
from kroute.drivers.kni.spares import PREFIX
from kroute.drivers.kni.store import FILE, Store
from kroute.model.config import Cni, Kni
from kroute.model.errors import DriverError
from kroute.model.kni import KniError, NodeFacts


def cleanup(kni: Kni, cni: Cni, state: Path) -> Iterator[str]:
    """Remove everything, and name each thing once it is gone; the daemon must not run.

    Raises:
        DriverError: what could not be removed, when all else has been; or the store cannot be read.
    """
    if not (state / FILE).exists():
        return
    failed: list[str] = []
    for thing, remove in _things(kni, cni, state):
        try:
            remove()
        except (KniError, OSError) as error:
            failed.append(f"{thing}: {error}")
        else:
            yield thing
    yield from _sockets(kni)
    if failed:
        raise DriverError("; ".join(failed))


def _things(kni: Kni, cni: Cni, state: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    with closing(Store(state / FILE)) as store, closing(FastPath(enabled=False)) as fast:
        core = Core(
            store,
            Plugins(cni.bin_directories),
            LibcniCache(kni.cache_directory),
            Networks(cni.directory, cni.file),
            lambda: NodeFacts(node=""),
            settings=Settings(deadline=float(kni.deadline)),
            fast=fast,
        )
        for container in sorted(store.attachments):
            yield f"attachment {container}", partial(core.detach, container)
        for path in sorted(store.domains):
            yield f"network namespace {path}", partial(core.domains.discard, path)
        for name, link in sorted(_links().items()):
            yield f"link {name}", partial(marks.remove, link)
    for spare in sorted(Path(cni.data_directory or DEFAULT).glob(f"*/{PREFIX}*")):
        yield f"file {spare}", partial(spare.unlink, missing_ok=True)


def _links() -> dict[str, LinkState]:
    with suppress(KniError, OSError):
        return marks.veths()
    return {}


def _sockets(kni: Kni) -> Iterator[str]:
    """Sockets that nobody answers at any more, and their locks."""
    for path in map(Path, kni.sockets):
        with suppress(DriverError):
            (door,) = take((path,))
            for left in (path, path.with_name(f"{path.name}.lock")):
                with suppress(OSError):
                    left.unlink()
                    yield f"file {left}"
            door.close()
