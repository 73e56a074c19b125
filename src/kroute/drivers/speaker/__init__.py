"""The driver of the speaker: keeps its process running and its peers as desired, hands events on in order."""

from kroute.drivers.speaker.driver import Speaker, session_parameters
from kroute.drivers.speaker.events import (
    Attempt,
    Backlog,
    Down,
    Refresh,
    SpeakerDied,
    SpeakerEvent,
    SpeakerLog,
    SpeakerReady,
    Up,
    Updates,
)

__all__ = [
    "Attempt",
    "Backlog",
    "Down",
    "Refresh",
    "Speaker",
    "SpeakerDied",
    "SpeakerEvent",
    "SpeakerLog",
    "SpeakerReady",
    "Up",
    "Updates",
    "session_parameters",
]
