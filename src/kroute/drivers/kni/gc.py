"""Garbage: what no pod needs any more is found, reported and released. Kubelets die, detaches never arrive."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kroute.codec.kni.cni import cache_of
from kroute.drivers.kni import netns as ns
from kroute.drivers.kni.core import Core
from kroute.drivers.kni.leases import leases_of
from kroute.drivers.kni.plugins import Deadline
from kroute.model.kni import KniError
from kroute.plan.kni import PRIMARY, ownerless

log = logging.getLogger(__name__)

LEASE_AGE = 120.0
"""Seconds that a lease without a known owner is left alone: a plain CNI runtime may be in the middle of its ADD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that nobody needs: what it is, why, and what became of it."""

    object: str
    reason: str
    outcome: str


def collect(core: Core, *, dry_run: bool, lease_age: float = LEASE_AGE) -> list[Finding]:
    """Find and release; ``dry_run`` looks only. What cannot be released now is found again next time."""
    found = [*_attachments(core, dry_run), *_domains(core, dry_run)]
    found += _leases(core, dry_run, lease_age)
    if not dry_run:
        _plugins(core)
    for finding in found:
        log.info("garbage %s: %s: %s", finding.object, finding.reason, finding.outcome)
    return found


def _attachments(core: Core, dry_run: bool) -> Iterator[Finding]:
    for attachment in list(core.store.attachments.values()):
        container, reason = attachment.id, core.why_garbage(attachment)
        if not reason or core.locks.is_held(container):
            continue  # who holds it is at it: a detach that runs must not take along the attach that follows it
        took_place: list[bool] = []
        outcome = _attempt(lambda c=container, t=took_place: t.append(core.discard(c)), dry_run)  # type: ignore[misc]
        if took_place != [False]:
            yield Finding(object=f"attachment/{container}", reason=reason, outcome=outcome)


def _domains(core: Core, dry_run: bool) -> Iterator[Finding]:
    for path, domain in list(core.store.domains.items()):
        if not domain.intent and not ns.lives(path):
            outcome = _attempt(lambda p=path: core.domains.discard(p), dry_run)  # type: ignore[misc]
            yield Finding(object=f"netns/{path}", reason="it is gone", outcome=outcome)


def _leases(core: Core, dry_run: bool, age: float) -> Iterator[Finding]:
    try:
        leases = leases_of(core.networks.default())
    except KniError:
        return
    if leases is None:
        return
    held = leases.held(age)
    cached = (cache_of(data) for data in core.plugins.cached())
    elsewhere = {str(entry["containerId"]) for entry in cached if entry}
    for address in ownerless(held, set(core.store.attachments), elsewhere):
        owner = held[address]
        outcome = _attempt(lambda a=address, o=owner: leases.release(a, o, age), dry_run)  # type: ignore[misc]
        reason = f"container {owner} is known neither here nor to libcni"
        yield Finding(object=f"lease/{address}", reason=reason, outcome=outcome)


def _plugins(core: Core) -> None:
    """GC of the plugins (CNI 1.1.0), with all attachments that are to stay: ours, and what libcni knows of others."""
    valid = {(a.id, w.interface) for a in list(core.store.attachments.values()) for w in a.wirings}
    for entry in map(cache_of, core.plugins.cached()):
        if entry is not None:
            valid.add((str(entry["containerId"]), str(entry.get("ifName", PRIMARY))))
    try:
        network, deadline = core.networks.default(), Deadline(core.settings.deadline)
        core.plugins.collect(network, sorted(valid), deadline)
    except KniError as error:
        log.debug("GC of the plugins: %s", error)


def _attempt(release: Callable[[], object], dry_run: bool) -> str:
    if dry_run:
        return "would be released"
    try:
        release()
    except KniError as error:
        return f"not released: {error}"
    return "released"
