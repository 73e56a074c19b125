"""The rehearsal behind ``kroute plan``: what would change, from the very code that would change it.

A state of the cluster is a :class:`Setting`. :func:`rehearse` plays two of them and compares node by node. Nothing here
touches the outside: the daemon's parts run on stand-ins for the speaker and the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from kroute.codec.kubernetes import read_objects
from kroute.daemon.rehearsal.casting import Casting, Unsuited, cast
from kroute.daemon.rehearsal.cluster import Cluster, Spread
from kroute.daemon.rehearsal.setting import Setting
from kroute.daemon.rehearsal.troupe import Troupe
from kroute.model.config import Config
from kroute.model.errors import Complaint, InputError
from kroute.model.inventory import ServicesListed, SlicesListed
from kroute.model.node import Node
from kroute.model.rehearsal import Caution, NodeReport, RehearsalReport
from kroute.model.state import Observed
from kroute.plan.observe import observe

__all__ = ["Cluster", "Setting", "Spread", "rehearse", "setting_of"]

CASTINGS = 4
"""How often nodes are cast anew where some turn out to be unlike the others; then all are played in full."""


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
    play = _Play(before, after, nodes, progress, spread)
    singled = frozenset[str]()
    for _ in range(CASTINGS):
        casting = cast(before, after, nodes, singled)
        if casting is None:
            break
        try:
            return play.by(casting)
        except Unsuited as found:
            singled |= found.nodes
    return play.by(Casting(principals=frozenset(play.nodes)))


class _Play:
    """Two states of a cluster, to be played."""

    def __init__(
        self,
        before: Setting | None,
        after: Setting,
        wanted: Sequence[str] | None,
        progress: Callable[[str], None],
        spread: Spread,
    ) -> None:
        self._before, self._after = before, after
        self._wanted = wanted
        self._progress, self._spread = progress, spread

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All there are, before or after."""
        known = self._before.observed.nodes if self._before is not None else {}
        return {**known, **self._after.observed.nodes}

    def by(self, casting: Casting) -> RehearsalReport:
        """The report on all nodes that are asked for.

        Raises:
            Unsuited: nodes that are cast as extras are none.
        """
        old = self._played(self._before, None, casting) if self._before is not None else None
        new = self._played(self._after, old, casting)
        known = self.nodes
        wanted = sorted(known if self._wanted is None else known.keys() & set(self._wanted))
        self._progress(f"comparing {len(wanted)} nodes")
        troupe = Troupe(casting, old, new, known)
        reports = troupe.reports(self._spread, wanted)
        return RehearsalReport(nodes=tuple(reports), cautions=_cautions(old, new, reports))

    def _played(self, setting: Setting, before: Cluster | None, casting: Casting) -> Cluster:
        when = "now" if before is None else "afterwards"
        self._progress(f"planning {len(setting.observed.nodes)} nodes as they are {when}")
        return Cluster(setting, casting, before, self._spread)


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
