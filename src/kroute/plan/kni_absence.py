"""Attachments and namespaces that live and that nobody needs all the same. Pure.

Two are asked: Kubernetes knows pods, the container runtime (CRI) knows sandboxes; an attachment is one sandbox of one
pod. Either may be away, restored without what it had, or another cluster's or node's, so absence is believed only where
it can be told from silence.

Kubernetes denies a pod that it could know (the caller said its uid, or its namespace and name; static pods are the
kubelet's) and that its list lacks. The CRI denies a sandbox that this very runtime has listed before and lists no more:
what was attached by hand was never in its list. A denial counts while the list is heard without a gap; one source's
word alone counts only while its list has another attachment of this node, and Kubernetes' while its nodes are believed.

============== ================== ========================================= =============== ==================
Kubernetes     CRI: lists it      lists it no more                          does not answer was never to know
============== ================== ========================================= =============== ==================
denies the pod kept: it may live  **goes**, also where neither knows any    kept            **goes**
knows it       in order           **goes** if another sandbox of the pod    in order        in order
                                  is ready, else kept
is silent      in order           the same                                  in order        in order
was never to   in order           **goes**                                  in order        in order
know
============== ================== ========================================= =============== ==================

What goes has been denied for the whole grace by all who deny it, and once more right before.

A namespace that was made for a pod, and that nobody is attached in, is judged by the first line alone, the CRI's word
about any sandbox of the pod: that Kubernetes denies the pod is the condition. It speaks for no list: its pod's name is
all that is known of it, and other clusters have pods of that name as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from math import ceil
from typing import NamedTuple

from kroute.model.pod import PodsSeen
from kroute.model.sandbox import Key, Listed, SandboxesSeen
from kroute.plan.kni_gc import Cause
from kroute.plan.kni_holdings import Holding, has_heir, knows, lists

_NO_POD_OF_OURS = (
    "the API server's list of this node's pods has none of those attached here, so it may lack any"
)
_NO_SANDBOX_OF_OURS = "the CRI lists none of the sandboxes attached here, so it may lack any"


class Heard(NamedTuple):
    """What is heard at one look. None: that source is not asked."""

    pods: PodsSeen | None = None
    sandboxes: SandboxesSeen | None = None
    doubt: str = ""
    """Why the API server is not believed; empty if it is."""


class Denials(NamedTuple):
    """What one source has denied until now; seconds of the monotonic clock."""

    since: Mapping[Key, float] = {}
    """What was in no list since then."""
    heard: float | None = None
    """Since when every look heard it, undoubted but for a list with none of ours; None: the last one did not."""
    believed: float | None = None
    """Since when every look believed its word alone."""


class Memory(NamedTuple):
    """What one look leaves for the next."""

    kubernetes: Denials = Denials()
    cri: Denials = Denials()
    listed: Listed = Listed()

    def knows_of(self, key: Key) -> bool:
        """Whether anybody denied it at the last look."""
        return key in self.kubernetes.since or key in self.cri.since


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A holding whose pod or sandbox somebody denies."""

    holding: Holding
    cause: Cause
    reason: str
    kept: str = ""
    """Why it is kept for now; empty: it may go."""
    stuck: bool = False
    """It is kept by a doubt, and would have gone without."""

    @property
    def key(self) -> Key:
        """The holding's."""
        return self.holding.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one look finds."""

    memory: Memory
    verdicts: tuple[Verdict, ...] = field(default=())


def judge(
    holdings: Iterable[Holding], heard: Heard, memory: Memory, *, now: float, grace: float
) -> Judgement:
    """Which holdings are denied, and which of them may go: the table at the top."""
    ours = list(holdings)
    kubernetes, denied = _of_kubernetes(ours, heard.pods, heard.doubt, memory.kubernetes, now)
    cri, absent, listed = _of_cri(ours, heard.sandboxes, memory, now)
    verdicts = []
    for holding in ours:
        pod, box = (words.get(holding.key, _UNASKED) for words in (kubernetes, cri))
        lost = holding.is_attachment and box.stance is _Stance.DENIES
        inherited = lost and heard.sandboxes is not None and has_heir(heard.sandboxes, holding)
        if pod.stance is _Stance.DENIES and not inherited:
            verdicts.append(_unknown_pod(holding, pod, box, grace))
        elif lost:
            verdicts.append(_lost_sandbox(holding, pod, box, inherited, grace))
    return Judgement(memory=Memory(denied, absent, listed), verdicts=tuple(verdicts))


def confirm(first: Iterable[Verdict], again: Iterable[Verdict], failure: str) -> Iterator[Verdict]:
    """The verdicts after all have been asked once more: what was not denied a second time is kept.

    ``failure``: why one of them did not answer; empty if all did.
    """
    anew = {verdict.key: verdict for verdict in again}
    for verdict in first:
        second = anew.get(verdict.key)
        doubt = second.kept if second else failure
        if verdict.kept or (second and not doubt):
            yield verdict
        elif doubt:
            yield replace(verdict, kept=f"asked once more: {doubt}", stuck=True)


# --- what they say, and for how long --------------------------------------------------------------------


class _Stance(Enum):
    """What a source says of one attachment."""

    UNASKED = auto()
    """Nothing, and never will: it is not asked, or could not know."""
    SILENT = auto()
    """Nothing just now."""
    KNOWS = auto()
    DENIES = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    """What a source says of one attachment, and since how many seconds it denies it."""

    stance: _Stance
    doubt: str = ""
    """Why it is silent, or its word alone is not believed."""
    waited: float = 0.0
    """It was in no list for so long, believed or not."""
    heard: float | None = None
    """The same, heard without a gap; None: it is not believed at all."""
    alone: float | None = None
    """The same, believed by itself; None: it is not."""


_UNASKED = _Word(stance=_Stance.UNASKED)
_KNOWS = _Word(stance=_Stance.KNOWS)
_Words = Mapping[Key, _Word]


def _of_kubernetes(
    ours: Iterable[Holding], seen: PodsSeen | None, doubt: str, before: Denials, now: float
) -> tuple[_Words, Denials]:
    if seen is None:
        return {}, before
    could = [h for h in ours if h.pod]
    if seen.failure:
        return _silence(could, seen.failure, before)
    strangers = {h.key for h in could if not h.occupied and not knows(seen, h)}
    return _words(could, strangers, before, now, (doubt, _NO_POD_OF_OURS), seen.since)


def _of_cri(
    ours: Sequence[Holding], seen: SandboxesSeen | None, memory: Memory, now: float
) -> tuple[_Words, Denials, Listed]:
    if seen is None:
        return {}, memory.cri, memory.listed
    if seen.failure:  # it may list any of them
        return *_silence(ours, seen.failure, memory.cri), memory.listed
    same = seen.runtime == memory.listed.runtime
    former = memory.listed.keys if same else frozenset()
    here = {h.key for h in ours if lists(seen, h)}
    could = [h for h in ours if h.key in former | here]
    keys = frozenset(h.key for h in could)
    words, absent = _words(could, keys - here, memory.cri, now, ("", _NO_SANDBOX_OF_OURS))
    return words, absent, Listed(seen.runtime, keys)


def _silence(could: Iterable[Holding], failure: str, before: Denials) -> tuple[_Words, Denials]:
    keys = [h.key for h in could]
    former = {key: before.since[key] for key in keys if key in before.since}
    return dict.fromkeys(keys, _Word(stance=_Stance.SILENT, doubt=failure)), Denials(former)


def _words(
    could: Sequence[Holding],
    strangers: set[Key] | frozenset[Key],
    before: Denials,
    now: float,
    doubts: tuple[str, str],
    followed: float = 0.0,
) -> tuple[_Words, Denials]:
    """What a list says of those whom its source could know. ``doubts``: why not to believe it at all, and why not
    alone if it has no attachment; ``followed``: since when nothing can have been missed."""
    doubt, nobody = doubts
    has_ours = any(h.is_attachment and h.key not in strangers for h in could)
    distrust = doubt or (nobody if strangers and not has_ours else "")
    heard, believed = (
        None if reason else now if former is None else former
        for reason, former in ((doubt, before.heard), (distrust, before.believed))
    )
    since = {key: before.since.get(key, now) for key in strangers}

    def counted(key: Key, start: float | None) -> float | None:
        return None if start is None else now - max(since[key], start, followed)

    words = {h.key: _KNOWS for h in could}
    for key, start in since.items():
        words[key] = _Word(
            stance=_Stance.DENIES,
            doubt=distrust,
            waited=now - start,
            heard=counted(key, heard),
            alone=counted(key, believed),
        )
    return words, Denials(since, heard, believed)


# --- what follows ---------------------------------------------------------------------------------------


def _unknown_pod(holding: Holding, pod: _Word, box: _Word, grace: float) -> Verdict:
    """Kubernetes denies the pod."""
    reason = f"Kubernetes does not know its pod {holding.pod} on this node"
    cause = Cause.POD if holding.is_attachment else Cause.UNUSED
    found = Verdict(holding=holding, cause=cause, reason=reason)
    late = pod.waited >= grace
    match box.stance:
        case _Stance.KNOWS:
            kept = "the CRI lists its sandbox, which the kubelet has to end"
            return replace(found, kept=kept, stuck=late)
        case _Stance.SILENT:
            return replace(found, kept=f"the CRI may list its sandbox: {box.doubt}", stuck=late)
        case _Stance.UNASKED:
            return _due(found, pod.alone, pod.doubt, late, grace, "Kubernetes learns of it")
    found = replace(found, reason=f"{reason}, nor does the CRI list its sandbox any more")
    both = None if pod.heard is None or box.heard is None else min(pod.heard, box.heard)
    return _due(found, both, pod.doubt, late, grace, "one of them learns of it")


def _lost_sandbox(
    holding: Holding, pod: _Word, box: _Word, inherited: bool, grace: float
) -> Verdict:
    """The CRI denies the sandbox, and Kubernetes does not deny the pod, or it has another sandbox."""
    reason = "the CRI lists its sandbox no more"
    if inherited:
        reason += f", but another one of its pod {holding.pod or holding.uid}"
    found = Verdict(holding=holding, cause=Cause.SANDBOX, reason=reason)
    late = box.waited >= grace
    if not inherited and pod.stance is _Stance.KNOWS:
        kept = f"Kubernetes knows its pod {holding.pod}, and no other sandbox of it is ready"
        return replace(found, kept=kept, stuck=late)
    if not inherited and pod.stance is _Stance.SILENT:
        kept = f"Kubernetes may know its pod {holding.pod}: {pod.doubt}"
        return replace(found, kept=kept, stuck=late)
    return _due(found, box.alone, box.doubt, late, grace, "the CRI lists it again")


def _due(
    found: Verdict, waited: float | None, doubt: str, late: bool, grace: float, unless: str
) -> Verdict:
    """Whether its time has come. ``waited``: denied for so long; None: ``doubt`` keeps it, ``late`` or not."""
    if waited is None:
        return replace(found, kept=doubt, stuck=late)
    if waited < grace:
        return replace(found, kept=f"released in {ceil(grace - waited)} s unless {unless}")
    return found
