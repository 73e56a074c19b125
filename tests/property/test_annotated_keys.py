"""No password of an annotation is in anything that is, or may be, printed: values, problems, events, dumps, notices."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kroute.codec.kubernetes import keys_of, node_of, read_objects
from kroute.codec.values import dump
from kroute.daemon.control import Control
from kroute.daemon.observation import write
from kroute.model.config import Config
from kroute.model.config_peering import Peering
from kroute.model.inventory import Listed, NodeChanged, Problems
from kroute.model.kernel import KernelState
from kroute.model.state import Observed
from kroute.plan.kube_router import with_annotations
from kroute.plan.notices import notices
from kroute.plan.observe import KernelChanged
from kroute.plan.peer_page import peer_page
from support.daemon_road import Street
from support.inventory import node_object

SECRET = "Zq7-unlikely-words-Zq7"
PACKED = base64.b64encode(SECRET.encode()).decode()
WRAPPED = st.sampled_from(["{}", '"{}"', "'{}'", "!!binary {}", "&a {}", "{}, port: 1", "[{}]", "{{{}: 1}}", "| {}",
                           "{}\n  :", "{}: {}", '"{}', "*{}", "!{} x", "{}#", "{}*"])  # fmt: skip
"""Ways to write a value down, good ones and bad ones."""
ENTRY = st.sampled_from([
    "- {{remoteip: 192.0.2.9, remoteasn: 65009, password: {}}}",
    "[{{remoteip: nowhere, remoteasn: 65009, password: {}}}]",
    "- remoteip: 192.0.2.9\n  remoteasn: 65009\n  password: {}",
    "- remoteip: 192.0.2.9\n  password: {}\n  password: {}",
    "{{password: {}}}",
])  # fmt: skip
LISTS = st.fixed_dictionaries(
    {"peer.ips": st.sampled_from(["192.0.2.9", "192.0.2.9,x", ""]), "peer.asns": st.just("65009")},
    optional={"peer.passwords": st.sampled_from([PACKED, f",{PACKED}", f"{PACKED}!"])},
)
LISTED = st.builds(
    lambda entry, value: {"peers": entry.format(*[value.format(PACKED, PACKED)] * 2)},
    ENTRY,
    WRAPPED,
)


def annotated(said: dict[str, str]) -> dict[str, Any]:
    thing = node_object(1)
    annotations = {f"kube-router.io/{key}": value for key, value in said.items()}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(annotations)}
    thing["metadata"]["annotations"] = annotations | applied
    return thing


def everything(thing: dict[str, Any]) -> str:
    """All that can be said of a daemon on this node."""
    node, problems = node_of(thing)
    assert node is not None
    keys = keys_of(thing)
    street = Street()
    config = Config(peering=Peering(kube_router_annotations=True))
    control = Control(Observed(me="n1", config=config), street.road, lambda _w: None, lambda: 0.0)
    control.on_annotated_keys(keys)
    events = (KernelChanged(KernelState()), Listed((node,)), Problems(problems))
    for event in events:
        control.post(event)
    control.replan()
    told = (*control.desired.problems, *control.secret_problems)
    pages = [repr(peer_page(state, 0.0, {})) for state in street.routing.peers.values()]
    assert street.speaker.sessions or control.secret_problems or not street.routing.peers
    sessions = [repr(parameters) for parameters in street.speaker.sessions.values()]
    said = (node, problems, keys, events, control.observed, control.desired, told)
    written = (dump(control.observed), notices(told, "n1"), NodeChanged(replace(node, ready=False)))
    file = repr(read_objects(json.dumps(thing), "nodes.json", services=True))
    whole = write(with_annotations(control.observed), street.routing).decode()
    return "".join([repr(said), repr(written), file, whole, *pages, *sessions])


@settings(deadline=None)
@given(LISTED | LISTS)
def test_a_password_of_an_annotation_is_in_nothing_that_is_printed(said: dict[str, str]) -> None:
    found = everything(annotated(said))
    assert SECRET not in found
    assert PACKED not in found
