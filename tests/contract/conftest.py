"""The API servers that the contracts are held against."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kroute.drivers.inventory.credentials import read_kubeconfig
from support.apiserver import SERVERS, Server
from support.fakekube import FakeKube
from support.inventory import kubeconfig


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "double":
        with FakeKube() as kube:
            path = kubeconfig(tmp_path / "kubeconfig", kube.url)
            yield Server(read_kubeconfig(Path(path)), path, kube=kube)
        return
    path = os.environ["KUBECONFIG"]
    real = Server(read_kubeconfig(Path(path)), path)
    try:
        yield real
    finally:
        real.clean()
