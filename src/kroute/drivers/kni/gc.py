"""Garbage: what no pod needs any more is found, reported and released. Kubelets die, detaches never arrive."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from kroute.codec.kni.cni import Json, cache_of
from kroute.drivers.kni import marks
from kroute.drivers.kni import netns as ns
from kroute.drivers.kni.core import Core
from kroute.drivers.kni.forgotten import Forgotten
from kroute.drivers.kni.leases import leases_of
from kroute.drivers.kni.plugins import Deadline
from kroute.model.kni import Attachment, KniError, Phase
from kroute.plan.kni import PRIMARY
from kroute.plan.kni_absence import Verdict, key_of
from kroute.plan.kni_gc import Cause, Garbage, host_ends, ownerless, stray

log = logging.getLogger(__name__)

LEASE_AGE = 120.0
"""Seconds that a lease or veth without a known owner is left alone: a plain CNI runtime may be in the middle of its
ADD, the kernel in the middle of removing a namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that nobody needs: what it is, why, and what became of it."""

    object: str
    cause: Cause
    reason: str
    outcome: str
    stuck: bool = False
    """It ought to be gone and cannot be released, or only a doubt keeps it: somebody should look."""

    @property
    def released(self) -> bool:
        """Whether it is gone now."""
        return self.outcome == _RELEASED


_RELEASED = "released"
SOURCES = {
    Cause.POD: ("pods", "Kubernetes' pods on this node", "no attachment is judged by them"),
    Cause.SANDBOX: (
        "sandboxes",
        "the container runtime's sandboxes",
        "no attachment whose namespace lives is released meanwhile",
    ),
}
"""Who is asked about attachments: the object of the finding that nothing is known (no thing to release), what is not
known, and what that means."""
_ASKED = frozenset(name for name, _what, _then in SOURCES.values())


class Tally:
    """What collections have found, by cause; for metrics."""

    def __init__(self) -> None:
        self.released: dict[Cause, int] = dict.fromkeys(Cause, 0)
        self.left: dict[Cause, int] = dict.fromkeys(Cause, 0)
        """What the last collection found and did not release."""

    def note(self, findings: Iterable[Finding]) -> None:
        """Count those of one collection."""
        left = dict.fromkeys(Cause, 0)
        for finding in findings:
            if finding.released:
                self.released[finding.cause] += 1
            elif finding.object not in _ASKED:
                left[finding.cause] += 1
        self.left = left


class Strays:
    """Since when veths have had no owner: the kernel takes a moment to remove those of a namespace that has gone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._since: dict[int, float] = {}

    def older(self, found: Iterable[int], age: float) -> set[int]:
        """Of these interfaces (by index) those that have been found at every look for ``age`` seconds."""
        now = self._clock()
        with self._mutex:
            self._since = {index: self._since.get(index, now) for index in found}
            return {index for index, since in self._since.items() if now - since >= age}


def collect(
    core: Core,
    *,
    dry_run: bool,
    lease_age: float = LEASE_AGE,
    strays: Strays | None = None,
    forgotten: Forgotten | None = None,
) -> list[Finding]:
    """Find and release; ``dry_run`` looks only. What cannot be released now is found again next time.

    ``lease_age``: seconds that leases and veths without an owner are left alone; ``strays`` remembers the veths from
    one look to the next. Without ``forgotten`` nobody asks whether Kubernetes or the CRI knows the pods.
    """
    # Who does not answer comes first: of the problems that follow from it only so many are told.
    found = [*_forgotten(core, forgotten, dry_run), *_attachments(core, dry_run)]
    found += [*_domains(core, dry_run), *_veths(core, dry_run, strays or Strays(), lease_age)]
    found += _leases(core, dry_run, lease_age, _with_veths())
    if not dry_run:
        _plugins(core)
    for finding in found:
        if not dry_run and (finding.released or finding.stuck):
            log.info("garbage %s: %s: %s", finding.object, finding.reason, finding.outcome)
    return found


# --- attachments ----------------------------------------------------------------------------------------


def _attachments(core: Core, dry_run: bool) -> Iterator[Finding]:
    for attachment in list(core.store.attachments.values()):
        garbage = core.why_garbage(attachment)
        if garbage is not None:
            yield from _detached(core, attachment, garbage, core.why_garbage, dry_run)


def _forgotten(core: Core, forgotten: Forgotten | None, dry_run: bool) -> Iterator[Finding]:
    if forgotten is None:
        return
    sound = [a for a in list(core.store.attachments.values()) if core.why_garbage(a) is None]
    verdicts = forgotten.look(sound)
    for cause, failure in forgotten.failures().items():
        name, what, then = SOURCES[cause]
        reason = f"{what} are not known: {failure}"
        stuck = cause is Cause.SANDBOX  # of the pods' failure who follows them tells at once
        yield Finding(object=name, cause=cause, reason=reason, outcome=then, stuck=stuck)
    for verdict in verdicts:
        garbage = Garbage(cause=verdict.cause, reason=verdict.reason)
        if verdict.kept:
            yield _kept(verdict)
        else:
            why = _still(verdict, forgotten)
            yield from _detached(core, verdict.attachment, garbage, why, dry_run)


def _still(verdict: Verdict, forgotten: Forgotten) -> Callable[[Attachment], object | None]:
    """Whether what is attached when its turn has come is the same, and denied as ever."""

    def why(known: Attachment) -> object | None:
        same = key_of(known) == verdict.key and forgotten.denies(known, verdict.cause)
        return known if same else None

    return why


def _kept(verdict: Verdict) -> Finding:
    return Finding(
        object=f"attachment/{verdict.attachment.id}",
        cause=verdict.cause,
        reason=verdict.reason,
        outcome=f"kept: {verdict.kept}",
        stuck=verdict.stuck,
    )


def _detached(
    core: Core,
    attachment: Attachment,
    garbage: Garbage,
    why: Callable[[Attachment], object | None],
    dry_run: bool,
) -> Iterator[Finding]:
    """Detach a pod. Who holds its lock is at it: a detach that runs must not take along the attach that follows it."""
    container = attachment.id
    if core.locks.is_held(container):
        return
    took_place: list[bool] = []
    found = _attempt(
        f"attachment/{container}",
        garbage,
        lambda: took_place.append(core.discard(container, why)),
        dry_run,
    )
    if took_place != [False]:
        yield found


# --- the rest -------------------------------------------------------------------------------------------


def _domains(core: Core, dry_run: bool) -> Iterator[Finding]:
    garbage = Garbage(cause=Cause.DOMAIN, reason="it is gone")
    for path, domain in list(core.store.domains.items()):
        if not domain.intent and not ns.lives(path):
            yield _attempt(f"netns/{path}", garbage, partial(core.domains.discard, path), dry_run)


def _veths(core: Core, dry_run: bool, strays: Strays, age: float) -> Iterator[Finding]:
    """Veths with our mark and without an owner, as a namespace leaves them that outlives its path.

    A record is there before its veth is made and after it has been removed. So who has none among records that are
    read after the links, and is there still, has none for good.
    """
    try:
        seen = marks.veths()
        attachments = dict(core.store.attachments)
        owners = {name: marks.container_of(link) for name, link in seen.items()}
        found = {
            name: Garbage(cause=Cause.VETH, reason=reason)
            for name, reason in stray(owners, attachments, _elsewhere(core))
            if not core.locks.is_held(owners[name]) and marks.still_there(seen[name])
        }
        old = strays.older((seen[name].ifindex for name in found), age)
        for name, garbage in found.items():
            if seen[name].ifindex in old:
                yield _attempt(f"veth/{name}", garbage, partial(marks.remove, seen[name]), dry_run)
        if not dry_run:
            _mark(attachments, set(seen))
    except (KniError, OSError) as error:
        log.warning("veths cannot be looked at: %s", error)


def _mark(attachments: dict[str, Attachment], marked: set[str]) -> None:
    """Mark what bears no mark yet: veths that a former version made, or that could not be marked."""
    done = [a for a in attachments.values() if a.phase is Phase.ATTACHED]
    marks.mark({name: a.id for a in done for name in host_ends(a) if name not in marked})


def _elsewhere(core: Core) -> set[str]:
    """Containers that libcni knows, ours or those of another runtime."""
    entries = (cache_of(data) for data in core.cache.entries())
    return {str(entry["containerId"]) for entry in entries if entry}


def _with_veths() -> set[str]:
    """Containers that still have a veth of ours: their addresses may be in use, whoever has forgotten them."""
    try:
        return {marks.container_of(link) for link in marks.veths().values()}
    except (KniError, OSError) as error:
        log.warning("veths cannot be looked at: %s", error)
        return set()


def _networks(core: Core) -> list[Json]:
    """Our own network and further ones that attachments are in, each once."""
    found: dict[str, Json] = {}
    with suppress(KniError):
        own = core.networks.default()
        found[own["name"]] = own
    for attachment in list(core.store.attachments.values()):
        for wiring in attachment.wirings:
            found.setdefault(wiring.network["name"], dict(wiring.network))
    return list(found.values())


def _leases(core: Core, dry_run: bool, age: float, using: set[str]) -> Iterator[Finding]:
    if not core.clock.steady_for(age):
        return
    for leases in filter(None, map(leases_of, _networks(core))):
        held = leases.held(age)
        for address in ownerless(held, using | set(core.store.attachments), _elsewhere(core)):
            owner = held[address]
            reason = f"container {owner} is known neither here nor to libcni"
            garbage = Garbage(cause=Cause.LEASE, reason=reason)
            release = partial(leases.release, address, owner, age)
            yield _attempt(f"lease/{address}", garbage, release, dry_run)


def _plugins(core: Core) -> None:
    """GC of the plugins (CNI 1.1.0), with all attachments that are to stay: ours, and what libcni knows of others."""
    valid = {(a.id, w.interface) for a in list(core.store.attachments.values()) for w in a.wirings}
    for entry in map(cache_of, core.cache.entries()):
        if entry is not None:
            valid.add((str(entry["containerId"]), str(entry.get("ifName", PRIMARY))))
    for network in _networks(core):
        try:
            core.plugins.collect(network, sorted(valid), Deadline(core.settings.deadline))
        except KniError as error:
            log.debug("GC of the plugins: %s", error)


def _attempt(thing: str, garbage: Garbage, release: Callable[[], object], dry_run: bool) -> Finding:
    outcome, stuck = "would be released", False
    if not dry_run:
        try:
            release()
            outcome = _RELEASED
        except KniError as error:
            outcome, stuck = f"not released: {error}", True
    cause, reason = garbage.cause, garbage.reason
    return Finding(object=thing, cause=cause, reason=reason, outcome=outcome, stuck=stuck)
