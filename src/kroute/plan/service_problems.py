"""What is wrong with services, for people: addresses that may not be announced, claimed twice, or failing checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from kroute.model.config_services import Services
from kroute.model.problem import Problem, Severity
from kroute.model.service import AddressKind, Announceable, Verdict

MOST: Final = 20
"""Addresses out of range that are named one by one."""


def service_problems(config: Services, rows: Iterable[Announceable]) -> Iterator[Problem]:
    """The problems of these verdicts; each names its service."""
    found = list(rows)
    yield from _refused(config, [r for r in found if r.verdict is Verdict.OUT_OF_RANGE])
    for row in found:
        if row.verdict is Verdict.TAKEN:
            yield _problem(row, row.kind.value, row.reason, Severity.ERROR)
    failing = {r.service: r for r in found if r.verdict in (Verdict.DOWN, Verdict.DEMOTED)}
    for row in failing.values():
        yield _problem(row, "check", row.reason)
    for _, claims in groupby(found, key=lambda r: r.prefix):
        yield from _claimed_twice(list(claims))


def _refused(config: Services, rows: list[Announceable]) -> Iterator[Problem]:
    if rows and not config.ranges:
        reason = f"is empty, so that none of {len(rows)} service address(es) is announced"
        yield Problem(object="config", field="services.ranges", reason=reason)
        return
    for row in rows[:MOST]:
        yield _problem(row, row.kind.value, f"{row.reason} and is not announced")
    if len(rows) > MOST:
        reason = f"{len(rows) - MOST} more service addresses are not within them and not announced"
        yield Problem(object="config", field="services.ranges", reason=reason)


def _claimed_twice(claims: list[Announceable]) -> Iterator[Problem]:
    """Load balancers share an address on purpose, on different ports; all other sharing is an accident, or worse."""
    first = claims[0]
    for other in claims[1:]:
        if other.service == first.service:
            continue
        differs = (other.communities, other.med) != (first.communities, first.med)
        shared = other.kind is first.kind is AddressKind.LOAD_BALANCER_IP
        if differs or not shared:
            said = (
                f"{other.prefix.network_address} is an address of service {first.service} as well"
            )
            more = ", whose communities count" if differs else ""
            yield _problem(other, other.kind.value, f"{said}, which comes first{more}")


def _problem(
    row: Announceable, field: str, reason: str, severity: Severity = Severity.WARNING
) -> Problem:
    return Problem(object=f"service/{row.service}", field=field, reason=reason, severity=severity)
