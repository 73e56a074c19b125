"""Under which route protocol earlier lives of this daemon installed their routes.

Routes are recognised by their protocol id (law 3). If an upgrade changes that id, the old one must still be
known, or its routes would stay for ever. It is written down where it survives a reboot; losing the file loses
only that.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from kroute.model.config import Config

log = logging.getLogger(__name__)

FILE = "marks.json"


def remember_protocol(config: Config) -> tuple[int, ...]:
    """The protocol ids of earlier lives, without the one in force, which is written down for the next life."""
    path = Path(config.paths.state) / FILE
    known = {*_read(path), *config.fib.former_protocols}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(
            json.dumps({"routeProtocols": sorted({*known, config.fib.protocol})}) + "\n"
        )
        draft.replace(path)
    except OSError as error:
        log.warning(
            "%s: %s; a later change of fib.protocol must name it in fib.formerProtocols",
            path,
            error.strerror,
        )
    return tuple(sorted(known - {config.fib.protocol}))


def _read(path: Path) -> list[int]:
    try:
        found = json.loads(path.read_text())["routeProtocols"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if not isinstance(found, list):
        return []
    # 0 to 4 are the kernel's own and the administrator's (rtnetlink.h): never ours, whatever the file says.
    return [n for n in found if isinstance(n, int) and 4 < n < 256]
