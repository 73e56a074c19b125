"""The configuration file: text to :class:`~kroute.model.config.Config`, and back; its JSON Schema and reference.

``decode`` turns plain values into the model's dataclasses by their types, collecting every complaint; ``constraints``
holds what types cannot say; ``encode`` and ``describe`` go the other way, for programs and for people.
"""

from __future__ import annotations

from kroute.codec.config.constraints import objection, objections
from kroute.codec.config.decode import Decoder
from kroute.codec.config.describe import (
    json_schema,
    policy_reference,
    reference,
    with_generated,
)
from kroute.codec.config.encode import dump_config, plain
from kroute.codec.yaml12 import load
from kroute.model.config import Config
from kroute.model.errors import Complaint, ConfigError, InputError

__all__ = [
    "dump_config",
    "json_schema",
    "parse_config",
    "plain",
    "policy_reference",
    "reference",
    "with_generated",
]

MAX_SIZE = 1 << 20
"""Characters of a configuration file; more is a mistake."""


def parse_config(text: str, source: str = "configuration") -> Config:
    """The configuration in a text; an empty one is all defaults.

    Raises:
        ConfigError: with every complaint, each with the path of its key and the line.
    """
    if len(text) > MAX_SIZE:
        raise ConfigError(source, [Complaint("", f"is larger than {MAX_SIZE >> 20} MiB")])
    try:
        document = load(text, source)
    except InputError as error:
        raise ConfigError(source, error.complaints) from error
    decoder = Decoder(document.lines, objection, objections)
    config = decoder.decode(Config, {} if document.value is None else document.value, ())
    if decoder.complaints:
        raise ConfigError(source, decoder.complaints)
    assert isinstance(config, Config)
    return config
