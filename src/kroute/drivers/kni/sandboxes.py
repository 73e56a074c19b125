"""The container runtime (CRI), asked which sandboxes there are; and what it once listed, in a file for the next life.

Each question opens a connection of its own and has a deadline: a runtime that restarts, hangs or is none costs the
collector's thread some seconds and nobody else anything.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import grpc

from kroute.codec import cri
from kroute.codec.kni import record
from kroute.codec.kni.wire import MalformedMessage
from kroute.model.sandbox import Listed, SandboxesSeen

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds for each of the two calls; containerd lists hundreds in one millisecond."""
_LARGEST = 16 * 1024 * 1024
"""Octets of an answer, as the kubelet has it: what it can read of its runtime, we can."""
_LONGEST = 200
"""Characters of what gRPC says of a failure."""
_ENDED = SandboxesSeen(failure="it is asked no more")


class Sandboxes:
    """One runtime's sandboxes; :class:`kroute.drivers.kni.forgotten.SandboxSource`."""

    def __init__(self, socket: str, file: Path, patience: float = PATIENCE) -> None:
        self._socket = socket
        self._file = file
        self._patience = patience
        self._failure = ""
        self._channel: grpc.Channel | None = None
        self._closed = False

    def ask(self) -> SandboxesSeen:
        """What there is now; blocks for twice the patience at most."""
        try:
            found = self._ask()
        except grpc.RpcError as error:
            found = SandboxesSeen(failure=self._in_words(error))
        except MalformedMessage as error:
            found = SandboxesSeen(failure=f"the answer at {self._socket} is none of a CRI: {error}")
        except ValueError:
            if not self._closed:  # between two calls
                raise
        if self._closed:
            return _ENDED
        if found.failure != self._failure:
            self._failure = found.failure
            if found.failure:
                log.warning("sandboxes: %s; none counts as gone meanwhile", found.failure)
            else:
                log.info("sandboxes: %s answers", found.runtime)
        return found

    def _ask(self) -> SandboxesSeen:
        limit = ("grpc.max_receive_message_length", _LARGEST)
        with grpc.insecure_channel(f"unix:{self._socket}", options=[limit]) as channel:
            self._channel = channel  # before the look at the end, which closes what it sees
            if self._closed:
                return _ENDED

            def call(path: str) -> bytes:
                method: Any = channel.unary_unary(path)
                answer: bytes = method(cri.EVERYTHING, timeout=self._patience)
                return answer

            runtime = f"{cri.read_runtime(call(cri.VERSION))} at {self._socket}"
            return SandboxesSeen(sandboxes=cri.read_sandboxes(call(cri.LIST)), runtime=runtime)

    def close(self) -> None:
        """Ask no more; a question that waits for its answer ends now. From any thread."""
        self._closed = True
        if (channel := self._channel) is not None:
            channel.close()

    def _in_words(self, error: Any) -> str:
        """What happened and what to do, from a failed call."""
        code, details = error.code(), str(error.details()).rpartition("error: ")[2][:_LONGEST]
        match code:
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"the CRI at {self._socket} did not answer within {self._patience:g} s"
            case grpc.StatusCode.UNIMPLEMENTED:
                return (
                    f"what answers at {self._socket} serves no CRI v1: "
                    "another program's socket, an old runtime, or its CRI plugin is disabled"
                )
            case grpc.StatusCode.UNAVAILABLE:
                return f"no CRI answers at {self._socket} (is kni.criSocket right, and its folder mounted?): {details}"
        return f"the CRI at {self._socket} refuses: {code.name}: {details}"

    # --- what it once listed ------------------------------------------------------------------------------

    def load(self) -> Listed:
        """What an earlier life saved; nothing where that is lost or cannot be read."""
        try:
            return record.read_listed(self._file.read_text())
        except FileNotFoundError:
            return Listed()
        except (OSError, ValueError, record.Unreadable) as error:
            log.warning("%s: %s; sandboxes count once they are listed again", self._file, error)
            return Listed()

    def save(self, listed: Listed) -> None:
        """Leave it to the next life. A power cut may undo that: it ends the sandboxes as well."""
        draft = self._file.with_suffix(".draft")
        try:
            draft.write_text(record.write_listed(listed))
            draft.replace(self._file)
        except OSError as error:
            log.warning("%s: %s; a restart will not know of it", self._file, error.strerror)
