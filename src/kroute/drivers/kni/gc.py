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
from kroute.drivers.kni import marks, occupants
from kroute.drivers.kni import netns as ns
from kroute.drivers.kni.core import Core
from kroute.drivers.kni.forgotten import Forgotten
from kroute.drivers.kni.leases import leases_of
from kroute.drivers.kni.plugins import Deadline
from kroute.model.kni import Attachment, Domain, KniError, Phase
from kroute.plan.kni import PRIMARY
from kroute.plan.kni_absence import Verdict
from kroute.plan.kni_gc import Cause, Garbage, host_ends, ownerless, stray
from kroute.plan.kni_holdings import Holding, key_of, of_attachment, of_domain

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
    Cause.POD: ("pods", "Kubernetes' pods on this node", "nothing is judged by them"),
    Cause.SANDBOX: (
        "sandboxes",
        "the container runtime's sandboxes",
        "nothing whose namespace lives is released meanwhile",
    ),
}
"""Who is asked about pods and sandboxes: the object of the finding that nothing is known (no thing to release), what
is not known, and what that means."""
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
            yield from _detached(core, attachment.id, garbage, core.why_garbage, dry_run)


def _detached(
    core: Core,
    container: str,
    garbage: Garbage,
    why: Callable[[Attachment], object],
    dry_run: bool,
) -> Iterator[Finding]:
    """Detach a pod. Who holds its lock is at it: a detach that runs must not take along the attach that follows it."""
    if not core.locks.is_held(container):
        discard = partial(core.discard, container, why)
        yield from _if_still(f"attachment/{container}", garbage, discard, dry_run)


# --- what pods hold that somebody denies ----------------------------------------------------------------


def _holdings(core: Core) -> Iterator[Holding]:
    """What is in order as far as can be seen here."""
    for attachment in list(core.store.attachments.values()):
        if attachment.phase is Phase.ATTACHED and core.why_garbage(attachment) is None:
            yield of_attachment(attachment)
    for path, domain in list(core.store.domains.items()):
        if not domain.intent and ns.lives(path):
            yield of_domain(domain, occupied=bool(core.domains.inside(path)))


def _forgotten(core: Core, forgotten: Forgotten | None, dry_run: bool) -> Iterator[Finding]:
    if forgotten is None:
        return
    verdicts = forgotten.look(_holdings(core))
    for cause, failure in forgotten.failures().items():
        name, what, then = SOURCES[cause]
        reason = f"{what} are not known: {failure}"
        stuck = cause is Cause.SANDBOX  # of the pods' failure who follows them tells at once
        yield Finding(object=name, cause=cause, reason=reason, outcome=then, stuck=stuck)
    for verdict in verdicts:
        if verdict.kept:
            yield _kept(verdict, verdict.kept, stuck=verdict.stuck)
        elif verdict.holding.is_attachment:
            garbage = Garbage(cause=verdict.cause, reason=verdict.reason)
            why = _still(verdict, forgotten)
            yield from _detached(core, verdict.holding.id, garbage, why, dry_run)
        else:
            yield from _unused(core, verdict, _still(verdict, forgotten), dry_run)


def _still(verdict: Verdict, forgotten: Forgotten) -> Callable[[Attachment | Domain], bool]:
    """Whether what is there when its turn has come is the same, and denied as ever."""

    def still(known: Attachment | Domain) -> bool:
        return key_of(known) == verdict.key and forgotten.denies(verdict.holding, verdict.cause)

    return still


def _kept(verdict: Verdict, why: str, *, stuck: bool) -> Finding:
    return Finding(
        object=verdict.holding.object,
        cause=verdict.cause,
        reason=verdict.reason,
        outcome=f"kept: {why}",
        stuck=stuck,
    )


def _unused(
    core: Core, verdict: Verdict, still: Callable[[Domain], bool], dry_run: bool
) -> Iterator[Finding]:
    """Remove a namespace that is as unused as it is denied; what is in it keeps it, whoever has put it there."""
    path = verdict.holding.id
    domain = core.store.domains.get(path)
    if domain is None or core.domains.is_busy(domain):
        return
    who: list[str] = []

    def unused(known: Domain) -> bool:
        if not still(known) or core.domains.inside(path) or not ns.lives(path):
            return False
        who.append(_occupant(path))
        return not who[-1]

    if not dry_run or unused(domain):
        garbage = Garbage(cause=verdict.cause, reason=verdict.reason)
        release = partial(core.domains.release, path, unused)
        yield from _if_still(verdict.holding.object, garbage, release, dry_run)
    for occupant in filter(None, who):
        yield _kept(verdict, occupant, stuck=True)


def _occupant(path: str) -> str:
    try:
        return occupants.one(path)
    except KniError as error:
        return str(error)


# --- the rest -------------------------------------------------------------------------------------------


def _domains(core: Core, dry_run: bool) -> Iterator[Finding]:
    garbage = Garbage(cause=Cause.DOMAIN, reason="it is gone")
    for path, domain in list(core.store.domains.items()):
        if not domain.intent and not ns.lives(path):
            release = partial(core.domains.release, path, lambda gone: not ns.lives(gone.path))
            yield from _if_still(f"netns/{path}", garbage, release, dry_run)


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


def _if_still(
    thing: str, garbage: Garbage, release: Callable[[], bool], dry_run: bool
) -> Iterator[Finding]:
    """Release it; no finding where it turns out that it is no garbage any more."""
    took_place: list[bool] = []
    found = _attempt(thing, garbage, lambda: took_place.append(release()), dry_run)
    if took_place != [False]:
        yield found


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
