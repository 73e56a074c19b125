"""The rehearsal behind ``kroute plan``: what would change, from the very code that would change it.

A state of the cluster is a :class:`Setting`. :func:`rehearse` plays two of them and compares node by node. Nothing here
touches the outside: the daemon's parts run on stand-ins for the speaker and the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kroute.codec.kubernetes import read_objects
from kroute.daemon.rehearsal.alike import Comparison
from kroute.daemon.rehearsal.cluster import Cluster, Setting, Spread
from kroute.daemon.rehearsal.compare import compare
from kroute.model.config import Config
from kroute.model.errors import Complaint, InputError
from kroute.model.inventory import ServicesListed, SlicesListed
from kroute.model.rehearsal import Caution, NodeReport, RehearsalReport
from kroute.model.state import Observed
from kroute.plan.observe import observe

__all__ = ["Cluster", "Setting", "Spread", "rehearse", "setting_of"]


def rehearse(
    before: Setting | None,
    after: Setting,
    nodes: Sequence[str] | None = None,
    *,
    progress: Callable[[str], None] = lambda _words: None,
    spread: Spread = map,
) -> RehearsalReport:
    """What changes from one state to the other on some nodes (None: on all there are, before or after).

    ``before`` None: there was nothing. ``progress`` is told what is being done, in words.
    """
    old = _played(before, None, progress, spread) if before is not None else None
    new = _played(after, old, progress, spread)
    known = {*(old.nodes if old is not None else ()), *new.nodes}
    wanted = sorted(known if nodes is None else known & set(nodes))
    progress(f"comparing {len(wanted)} nodes")
    comparison = Comparison()
    reports = tuple(spread(lambda name: compare(name, old, new, comparison), wanted))
    return RehearsalReport(nodes=reports, cautions=_cautions(old, new, reports))


def _played(
    setting: Setting, before: Cluster | None, progress: Callable[[str], None], spread: Spread
) -> Cluster:
    when = "now" if before is None else "afterwards"
    progress(f"planning {len(setting.observed.nodes)} nodes as they are {when}")
    return Cluster(setting, before, spread)


def _cautions(
    before: Cluster | None, after: Cluster, reports: Iterable[NodeReport]
) -> tuple[Caution, ...]:
    """Those about the cluster first; what every node says alike is said once."""
    found = [c for report in reports for c in report.cautions]
    texts: dict[tuple[str, str], list[Caution]] = {}
    for caution in found:
        texts.setdefault((caution.code, caution.text), []).append(caution)
    common = [
        Caution(node="", code=code, text=text)
        for (code, text), same in texts.items()
        if code == "problem" and len(same) > 1
    ]
    said = {(c.code, c.text) for c in common}
    had = len(before.reflectors) if before is not None else 0
    if had > 1 and len(after.reflectors) == 1:
        words = f"{after.reflectors[0]} would be the only reflector left (of {had})"
        common.append(Caution(node="", code="one-reflector", text=words))
    return (*sorted(common), *(c for c in found if (c.code, c.text) not in said))


def setting_of(config: Config, text: str, source: str) -> Setting:
    """A cluster as `kubectl get nodes,services,endpointslices -o yaml` prints it, under one configuration.

    Raises:
        InputError: the text is neither YAML nor JSON, or names no node.
    """
    found = read_objects(text, source, services=True)
    if not found.nodes:
        raise InputError(source, [Complaint("", "names no node")])
    observed = Observed(me="", config=config, nodes={n.name: n for n in found.nodes}, listed=True)
    for event in (ServicesListed(found.services), SlicesListed(found.slices)):
        observed = observe(observed, event)
    return Setting(observed=observed)
