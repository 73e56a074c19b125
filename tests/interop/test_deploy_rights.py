"""The rights that the DaemonSet grants are enough, and each of them is needed.

A process with exactly the manifest's capabilities and no way to new ones does what the daemon does with
rights: changes routes, starts the speaker's change of user, and ends that other user's process. Then the
daemon itself runs so, on a root file system that is read-only, and meets its neighbour.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.netns import Lab, Namespace, wait_for

pytestmark = pytest.mark.root

MANIFEST = Path(__file__).parents[2] / "deploy" / "daemonset.yaml"

SPEAKER = """
import socket, sys
from kroute.speaker.privileges import drop
drop("nobody")
listener = socket.create_server(("127.0.0.1", 179))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(*(status[key].split()[0] for key in ("Uid", "CapPrm", "CapEff", "CapBnd")), flush=True)
sys.stdin.read()
"""

DAEMON = """
import json, subprocess, sys
from pyroute2 import IPRoute
said = {}
with IPRoute() as kernel:
    lo = kernel.link_lookup(ifname="lo")[0]
    try:
        kernel.route("add", dst="192.0.2.0/24", oif=lo, proto=201)
        said["route"] = True
    except Exception as error:
        said["route"] = str(error)
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
said["speaker"] = child.stdout.readline().split()
try:
    child.kill()
    said["kill"] = True
except PermissionError as error:
    said["kill"] = str(error)
said["error"] = child.communicate()[1]
print(json.dumps(said))
"""


def granted() -> set[str]:
    (daemonset,) = [d for d in yaml.safe_load_all(MANIFEST.read_text()) if d["kind"] == "DaemonSet"]
    (container,) = daemonset["spec"]["template"]["spec"]["containers"]
    return {name.lower() for name in container["securityContext"]["capabilities"]["add"]}


@pytest.fixture
def home() -> Iterator[Namespace]:
    with Lab("rights") as lab:
        yield lab.namespace("n")


def bounded(rights: set[str]) -> list[str]:
    """A command prefix: what follows has these capabilities and can never have another."""
    bounding = ",".join(["-all", *(f"+{right}" for right in sorted(rights))])
    return ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounding}"]


def act(home: Namespace, rights: set[str]) -> dict[str, Any]:
    inside = ["ip", "netns", "exec", home.name, *bounded(rights)]
    done = subprocess.run(
        [*inside, sys.executable, "-c", DAEMON, SPEAKER],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_manifests_capabilities_are_enough(home: Namespace):
    said = act(home, granted())
    assert said["route"] is True
    assert said["kill"] is True
    uid, permitted, effective, bounding = said["speaker"]
    assert int(uid) != 0
    bind_service = 1 << 10
    assert (int(permitted, 16), int(effective, 16)) == (bind_service, bind_service)
    assert int(bounding, 16) == bind_service


@pytest.mark.parametrize("missing", sorted(granted()))
def test_without_any_one_of_them_something_fails(home: Namespace, missing: str):
    said = act(home, granted() - {missing})
    bounding = said["speaker"][3:]
    whole = said["route"] is True and said["kill"] is True and bounding == [f"{1 << 10:016x}"]
    assert not whole, f"{missing} is granted and not needed"


def node(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"n{number}"},
        "spec": {"podCIDRs": [f"10.244.{number}.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{number}"}]},
    }


def start(home: Namespace, number: int, folder: Path) -> None:
    """The manifest's command on a node of its own folders, all else read-only."""
    own = folder / f"n{number}"
    (own / "net.d").mkdir(parents=True)
    config = {
        "inventory": {"static": {"path": str(folder / "nodes.yaml")}},
        "cni": {"directory": str(own / "net.d"), "binDirectories": ["/usr/lib/cni"]},
        "paths": {"run": str(own / "run"), "state": str(own / "state")},
    }
    for name in ("run", "state"):
        (own / name).mkdir()
    (own / "kroute.yaml").write_text(yaml.safe_dump(config))
    sealed = f'mount --bind {folder} {folder} && mount -o remount,bind,ro / && exec "$@"'
    kroute = str(Path(sys.executable).with_name("kroute"))
    run = [kroute, "run", "--config", str(own / "kroute.yaml")]
    with (folder / f"n{number}.log").open("wb") as log:
        home.popen(
            ["unshare", "--mount", "sh", "-c", sealed, "sh", *bounded(granted()), *run],
            env=os.environ | {"NODE_NAME": f"n{number}"},
            stderr=log,
        )


def test_the_daemon_runs_with_these_rights_on_a_read_only_root(tmp_path: Path):
    nodes = {"apiVersion": "v1", "kind": "List", "items": [node(1), node(2)]}
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(nodes))
    with Lab("rights") as lab:
        homes = {number: lab.namespace(f"n{number}") for number in (1, 2)}
        lab.veth(homes[1], "eth0", homes[2], "eth0")
        for number, home in homes.items():
            home.address("eth0", f"192.0.2.{number}/24")
            start(home, number, tmp_path)
        for number, other in ((1, 2), (2, 1)):
            wanted = f"10.244.{other}.0/24 via 192.0.2.{other}"
            wait_for(lambda n=number, w=wanted: w in homes[n].ip("route"), 30, wanted)
            conflist = tmp_path / f"n{number}" / "net.d" / "10-kroute.conflist"
            wait_for(conflist.exists, 30, f"n{number}'s conflist")
