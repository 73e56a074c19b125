"""What `make docs` writes is committed as it would be written now."""

from __future__ import annotations

import json
from pathlib import Path

from kroute.codec.config import json_schema, reference

DOCS = Path(__file__).parents[2] / "docs"


def test_the_configuration_reference_is_up_to_date():
    assert (DOCS / "reference.md").read_text() == reference(), "run `make docs`"


def test_the_json_schema_is_up_to_date():
    assert json.loads((DOCS / "kroute.schema.json").read_text()) == json_schema(), "run `make docs`"
