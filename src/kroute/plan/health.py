"""When a health check's results make a service rise or fall: by counting, and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Streak:
    """Results in a row, and what follows: the first decides alone, then ``rise`` good or ``fall`` bad ones do."""

    rise: int
    fall: int
    up: bool | None = None
    """None until the first result."""
    against: int = 0
    """Results in a row that contradict ``up``."""

    def take(self, good: bool) -> bool:
        """Count a result; whether ``up`` is another than before."""
        if self.up is None:
            self.up = good
            return True
        if good == self.up:
            self.against = 0
            return False
        self.against += 1
        if self.against < (self.rise if good else self.fall):
            return False
        self.up, self.against = good, 0
        return True
