"""CHECK on demand: plugins say whether what is attached is still as they left it (CNI specification, since 0.4.0)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kroute.codec.kni.cni import version
from kroute.drivers.kni.core import Core
from kroute.drivers.kni.plugins import Deadline
from kroute.model.kni import Attachment, KniError, Phase, Wiring


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One interface of a pod, and what its plugins say of it."""

    id: str
    pod: str
    interface: str
    outcome: str
    broken: bool = False


def check(core: Core, container: str = "") -> list[Checked]:
    """Check one attachment, or all; nothing is changed. Those that come or go are none.

    Raises:
        KniError: a call that works on a pod does not end.
    """
    wanted = [container] if container else sorted(core.store.attachments)
    return [found for name in wanted for found in _attachment(core, name)]


def _attachment(core: Core, container: str) -> Iterator[Checked]:
    deadline = Deadline(core.settings.deadline)
    with core.locks.held(container, deadline.left):
        known = core.store.attachments.get(container)
        if known is not None and known.phase is Phase.ATTACHED:
            for wiring in known.wirings:
                yield _wiring(core, known, wiring, deadline)


def _wiring(core: Core, known: Attachment, wiring: Wiring, deadline: Deadline) -> Checked:
    outcome, broken = "in order", False
    if version(wiring.network) < (0, 4, 0):
        outcome = f"not asked: there is no CHECK in CNI {wiring.network['cniVersion']}"
    try:
        core.plugins.check(known.id, known.netns, wiring, deadline)
    except KniError as error:
        outcome, broken = str(error), True
    return Checked(
        id=known.id, pod=known.pod, interface=wiring.interface, outcome=outcome, broken=broken
    )
