"""The API double as a program, as labs run it: it serves a file's objects and follows them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kroute.drivers.inventory.api import Patience
from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.model.config import KubernetesInventory
from support import fakekube
from support.inventory import following, kubeconfig, node_object

QUICK = Patience(first_pause=0.02, longest_pause=0.1)


def write(path: Path, *numbers: int) -> None:
    draft = path.with_suffix(".draft")
    items = [node_object(n) for n in numbers]
    draft.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    draft.replace(path)


@contextmanager
def served(*options: str) -> Iterator[str]:
    command = [sys.executable, str(fakekube.__file__), "--bind", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("serving http://127.0.0.1:")
        yield said.split()[1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("form", ["nodes.json", "nodes.yaml"])
async def test_a_files_nodes_are_served_and_followed(tmp_path: Path, form: str):
    objects = tmp_path / form
    write(objects, 1, 2)
    with served("--objects", str(objects), "--follow") as url:
        config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", url))
        async with following(KubernetesInventoryDriver(config, QUICK)) as told:
            await told.until(lambda t: t.names() == ["n1", "n2"])
            write(objects, 2, 3)
            await told.until(lambda t: t.names() == ["n2", "n3"])
            objects.write_text("{")
            write(objects, 3)
            await told.until(lambda t: t.names() == ["n3"])
            assert told.lists == 1
