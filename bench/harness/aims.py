"""What the figures are held against. An aim is never asserted by a test: it is printed beside what was measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.figures import Row


@dataclass(frozen=True, slots=True)
class Aim:
    """One bound: on the value itself, or on the ratio to another."""

    pattern: str
    """Regular expression that the whole id matches."""
    bound: float
    against: str = ""
    """The other whose ratio is bounded; empty: the value itself."""
    most: bool = False
    """The bound is an upper one."""

    def words(self) -> str:
        """The bound as people read it."""
        sign = "≤" if self.most else "≥"
        return f"{sign} {self.bound:g}" + (f"× {self.against}" if self.against else "")

    def met(self, row: Row) -> bool | None:
        """Whether the row keeps it; None if that other was not measured."""
        value = row["ratio"].get(self.against) if self.against else row["value"]
        if value is None:
            return None
        return bool(value <= self.bound if self.most else value >= self.bound)


AIMS = (
    Aim(r"to-kernel/(packed|nodes)/100k", 1.0, "bird"),
    Aim(r"to-kernel/distinct/100k", 0.6, "bird"),
    Aim(r"to-kernel/.*/10k", 0.6, "bird"),
    Aim(r"to-kernel/.*", 1.0, "frr"),
    Aim(r"to-kernel/.*", 50, "naive"),
    Aim(r"rib-in/.*", 0.5, "bird"),
    Aim(r"rib-in/.*", 2, "frr"),
    Aim(r"rib-in/.*", 10, "gobgp"),
    Aim(r"fib/(add|replace|delete|dump)/.*", 0.85, "c"),
    Aim(r"fib/(add|replace|delete|dump)/.*", 2, "ip-batch"),
    Aim(r"mesh/join/after-start", 1.0, most=True),
    Aim(r"mesh/join/after-session", 0.3, most=True),
    Aim(r"mesh/cold-start/after-start", 1.0, most=True),
    Aim(r"mesh/cold-start", 1.0, "bird", most=True),
    Aim(r"switch/.*/lost", 0, most=True),
    Aim(r"restart/all/lost", 0, most=True),
    Aim(r"restart/all", 10, most=True),
    Aim(r"stall/loop/.*", 50, most=True),
    Aim(r"stall/keepalive/.*", 50, most=True),
    Aim(r"stall/join/(packed|distinct)", 50, most=True),
    Aim(r"memory/static/10", 65, most=True),
    Aim(r"memory/kubernetes/10", 90, most=True),
    Aim(r"memory/static/1000", 85, most=True),
    Aim(r"memory/kubernetes/1000", 110, most=True),
    Aim(r"memory/routes/100k", 160, most=True),
    Aim(r"egress/(reflect|originate)/50", 50, most=True),
    Aim(r"reflect/.*", 0.7, "bird"),
    Aim(r"reflect/.*", 1, "frr"),
    Aim(r"reflect/.*", 1, "gobgp"),
    Aim(r"idle/.*", 1.0, most=True),
    Aim(r"sessions/up/.*", 2.0, most=True),
    Aim(r"sessions/idle/.*", 2.0, most=True),
    Aim(r"sessions/memory/.*", 40, most=True),
    Aim(r"sessions/keepalive/.*", 1.5, most=True),
    Aim(r"plan/.*5000.*", 100, most=True),
    Aim(r"policy/import-change/.*", 2_000, most=True),
    Aim(r"kni/attach/.*", 0.167, "exec", most=True),
    Aim(r"kni/detach/.*", 1.0, "exec", most=True),
    Aim(r"kni/detach-30-together", 0.125, "exec", most=True),
    Aim(r"kni/exec-pair", 1.1, "script", most=True),
    Aim(r"kni/storm/pods", 5, "exec"),
    Aim(r"kni/storm/query-p99", 10, most=True),
    Aim(r"kni/storm/keepalive", 1.5, most=True),
    Aim(r"kni/memory", 10, most=True),
    Aim(r"kni/restart", 0.5, most=True),
)


def judged(row: Row) -> list[tuple[Aim, bool]]:
    """The aims that this row can be held against."""
    found = []
    for aim in AIMS:
        if re.fullmatch(aim.pattern, row["id"]) and (met := aim.met(row)) is not None:
            found.append((aim, met))
    return found
