"""Performing a lab's checks, one after the other, until one fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import assert_never

from kroute.lab import pods as podlib
from kroute.lab.backend import Backend, Result, finish
from kroute.lab.checks import ALL_PODS, HOST, Action, Check, NoLoss, Ping, PodsStep, State
from kroute.lab.errors import CheckFailed, LabError
from kroute.lab.pods import Pod, Pods
from kroute.lab.polling import attempts
from kroute.lab.progress import Progress
from kroute.lab.topology import Topology
from kroute.lab.traffic import Stream, Tally

_SHOWN = 12
"""Lines of output shown of a command that was not as expected."""


class Runner:
    """Performs checks against one running lab. ``verbose`` shows the output that satisfied each state."""

    def __init__(
        self,
        backend: Backend,
        topology: Topology | None,
        progress: Progress,
        *,
        verbose: bool = False,
    ) -> None:
        self.backend = backend
        self.topology = topology
        self.progress = progress
        self.verbose = verbose
        self.pods = Pods(backend)
        self._known: dict[str, Pod] | None = None

    def perform(self, checks: Sequence[Check]) -> bool:
        """Performs all checks; False once one fails, with the rest left out and said so."""
        began = time.monotonic()
        for i, check in enumerate(checks):
            try:
                self._perform(check)
            except LabError as error:
                self.progress.fail("\n".join([check.description, *error.messages]))
                if rest := len(checks) - i - 1:
                    self.progress.line(f"  {rest} more not tried")
                return False
        took = time.monotonic() - began
        self.progress.line(f"  all {len(checks)} checks hold, {took:.1f} s", "ok")
        return True

    def _perform(self, check: Check) -> None:
        """One check, with its line of progress.

        Raises:
            LabError: it does not hold.
        """
        if isinstance(check, NoLoss):
            self._no_loss(check)
            return
        with self.progress.step(check.description):
            match check:
                case State():
                    self._everywhere(check.nodes, lambda node: self._state(check, node))
                case Action():
                    self._everywhere(check.nodes, lambda node: self._action(check, node))
                case PodsStep():
                    self._pods_step(check)
                case Ping():
                    self._ping(check)
                case _ as never:
                    assert_never(never)

    # ------------------------------------------------------------------------------ states, actions

    def _everywhere(self, nodes: Sequence[str], work: Callable[[str], None]) -> None:
        """Does the same on several nodes at once; all failures are raised together."""
        with ThreadPoolExecutor(max(1, len(nodes))) as pool:
            outcomes = [pool.submit(work, node) for node in nodes]
        errors = [error for outcome in outcomes if (error := outcome.exception())]
        messages: list[str] = []
        for error in errors:
            if not isinstance(error, LabError):
                raise error
            messages += error.messages
        if messages:
            raise CheckFailed(*messages)

    def _command(self, node: str, command: str, timeout: float) -> Result:
        """Runs a shell command in a node, or on the host in the lab's folder."""
        if node != HOST:
            return self.backend.run(node, ["sh", "-c", command], timeout=timeout)
        folder = str(self.topology.path.parent) if self.topology else "."
        script = 'cd "$1" && eval "$2"'
        return finish(["sh", "-c", script, "sh", folder, command], "", timeout, command)

    def _state(self, check: State, node: str) -> None:
        """Polls one node until the expectation holds."""
        result, complaints = Result(status=0, stdout="", stderr=""), ["was never run"]
        for _ in attempts(check.wait, pause=0.25):
            result = self._command(node, check.command, max(5.0, check.wait))
            complaints = check.expect.complaints(result)
            if not complaints:
                if self.verbose:
                    self.progress.line(_excerpt(node, check.command, result), "dim")
                return
        what = (
            f"{node or 'host'}: after {check.wait:g} s {check.command!r}: {'; '.join(complaints)}"
        )
        raise CheckFailed(what, *_lines(result))

    def _action(self, action: Action, node: str) -> None:
        """Runs an action on one node."""
        result = self._command(node, action.command, 60.0)
        if result.status:
            what = f"{node or 'host'}: {action.command!r} ended with status {result.status}"
            raise CheckFailed(what, *_lines(result))
        if self.verbose and result.stdout.strip():
            self.progress.line(_excerpt(node, action.command, result), "dim")

    # ----------------------------------------------------------------------------------------- pods

    def _pods_step(self, step: PodsStep) -> None:
        """Adds or deletes pods: nodes at once, the pods of a node one by one."""

        def work(node: str) -> None:
            for name in step.pods[node]:
                if step.delete:
                    self.pods.delete(node, name)
                else:
                    self.pods.add(node, name, step.wait)

        self._everywhere(tuple(step.pods), work)
        self._known = None

    def _all_pods(self) -> dict[str, Pod]:
        """The lab's pods by name, as the nodes remember them."""
        if self._known is None:
            nodes = [status.name for status in self.backend.inspect() if status.running]
            self._known = {pod.name: pod for node in nodes for pod in self.pods.on(node)}
        return self._known

    def _names(self, names: Iterable[str]) -> list[str]:
        """Names with ``all-pods`` spelled out."""
        return [
            pod
            for name in names
            for pod in (sorted(self._all_pods()) if name == ALL_PODS else [name])
        ]

    def _pairs(self, ping: Ping) -> list[tuple[str, str, int]]:
        """Every source, target and family of a ping."""
        return [
            (source, target, family)
            for source in self._names(ping.sources)
            for target in self._names(ping.targets)
            for family in ping.families
            if source != target
        ]

    def _source(self, name: str) -> tuple[str, list[str]]:
        """The node that a ping starts in, and the words that enter the pod."""
        pod = self._all_pods().get(name)
        return (pod.node, podlib.inside(pod, [])) if pod else (name, [])

    def _target(self, name: str, family: int) -> str:
        """The address that a ping goes to."""
        pod = self._all_pods().get(name)
        return pod.address(family) if pod else name

    # ----------------------------------------------------------------------------------------- pings

    def _ping(self, ping: Ping) -> None:
        """Polls every pair until it answers."""
        pairs = self._pairs(ping)
        if not pairs:
            raise CheckFailed("there is nobody to ping: no such pods")
        with ThreadPoolExecutor(4) as pool:
            silent = [
                text
                for text in pool.map(lambda pair: self._unreached(pair, ping.wait), pairs)
                if text
            ]
        if silent:
            raise CheckFailed(
                f"{len(silent)} of {len(pairs)} pings unanswered after {ping.wait:g} s", *silent
            )

    def _unreached(self, pair: tuple[str, str, int], wait: float) -> str:
        """Pings one pair until it answers; says what ping said last if it does not."""
        source, target, family = pair
        node, prefix = self._source(source)
        address = self._target(target, family)
        said = ""
        for _ in attempts(wait):
            command = [*prefix, "ping", "-n", "-c", "1", "-W", "1", address]
            result = self.backend.run(node, command, timeout=30.0)
            if not result.status:
                return ""
            said = result.said.splitlines()[1] if len(result.said.splitlines()) > 1 else result.said
        return f"{source} -> {target} ({address}): {said}"

    def _no_loss(self, window: NoLoss) -> None:
        """Runs the streams around the window's steps, then counts."""
        streams: list[Stream] = []
        self.progress.line(f"  … {window.description}")
        failure: LabError | None = None
        try:
            for ping in window.streams:
                for source, target, family in self._pairs(ping):
                    streams.append(self._stream(source, target, family, window.rate))
            for step in window.during:
                self._perform(step)
        except LabError as error:
            failure = error
        tallies = [stream.stop() for stream in streams]
        complaints = [
            text for tally in tallies if (text := tally.complaint(window.rate, window.silence))
        ]
        if failure or complaints:
            raise CheckFailed(*(failure.messages if failure else ()), *complaints)
        self.progress.done(f"{window.description}: {_summary(tallies)}")

    def _stream(self, source: str, target: str, family: int, rate: float) -> Stream:
        """Starts one stream."""
        node, prefix = self._source(source)
        address = self._target(target, family)
        return Stream(
            self.backend, node, prefix, address, name=f"{source} to {target} ({address})", rate=rate
        )


def _summary(tallies: Sequence[Tally]) -> str:
    """What the streams carried."""
    sent = sum(tally.sent for tally in tallies)
    lost = sum(len(tally.missing) for tally in tallies)
    seconds = max((tally.seconds for tally in tallies), default=0.0)
    silence = f", none silent for more than {max(t.silence for t in tallies):.1f} s" if lost else ""
    return f"{lost} of {sent} pings lost in {seconds:.1f} s, {len(tallies)} streams{silence}"


def _lines(result: Result) -> list[str]:
    """The first lines of what a command said."""
    return [f"  | {line}" for line in result.said.splitlines()[:_SHOWN]]


def _excerpt(node: str, command: str, result: Result) -> str:
    """A command with its prompt and the first lines of its output."""
    return "\n".join(
        [f"      {node or 'host'}# {command}", *(f"      {line}" for line in _lines(result))]
    )
