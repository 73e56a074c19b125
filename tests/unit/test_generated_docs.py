"""What `make docs` writes is committed as it would be written now."""

from __future__ import annotations

import json
import re
from pathlib import Path

from kroute.codec.config import (
    json_schema,
    parse_config,
    policy_reference,
    reference,
    with_generated,
)

DOCS = Path(__file__).parents[2] / "docs"


def test_the_configuration_reference_is_up_to_date():
    assert (DOCS / "reference.md").read_text() == reference(), "run `make docs`"


def test_the_json_schema_is_up_to_date():
    assert json.loads((DOCS / "kroute.schema.json").read_text()) == json_schema(), "run `make docs`"


def test_the_policy_reference_is_up_to_date():
    page = (DOCS / "policy.md").read_text()
    assert page == with_generated(page, policy_reference()), "run `make docs`"


def test_every_example_of_the_policy_page_is_a_right_configuration():
    examples = re.findall(r"(?ms)^```yaml\n(.*?)^```", (DOCS / "policy.md").read_text())
    assert len(examples) >= 6
    for text in examples:
        assert parse_config(text).policies or parse_config(text).peering.peers
