"""What /proc tells: CPU time and memory of processes, and how busy the machine is with other work."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_BUSY = 0.15
_LOOK = 0.2


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of the processes, all threads; those that are gone count nothing."""
    total = 0
    for pid in pids:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def pss_mib(pids: Iterable[int]) -> float:
    """Proportional set size of the processes in MiB."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def busy() -> float:
    """Share of the machine's cores in use during a short look."""
    before = _jiffies()
    time.sleep(_LOOK)
    after = _jiffies()
    whole = after[0] - before[0]
    return 1 - (after[1] - before[1]) / whole if whole else 0.0


def settle(patience: float = 8.0) -> float:
    """Wait until the machine is quiet, but no longer than ``patience`` seconds; how busy it then was."""
    end = time.monotonic() + patience
    while (load := busy()) > _BUSY and time.monotonic() < end:
        time.sleep(0.1)
    return load


def _jiffies() -> tuple[int, int]:
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))
