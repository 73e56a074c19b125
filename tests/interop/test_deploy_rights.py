"""The rights that the DaemonSet grants are enough, and each of them is needed.

A process with exactly the manifest's capabilities and no way to new ones does what the daemon does with
rights: changes routes, starts the speaker's change of user, and ends that other user's process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.netns import Lab, Namespace

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


def act(home: Namespace, rights: set[str]) -> dict[str, Any]:
    bounding = ",".join(["-all", *(f"+{right}" for right in sorted(rights))])
    command = ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounding}"]
    done = subprocess.run(
        ["ip", "netns", "exec", home.name, *command, sys.executable, "-c", DAEMON, SPEAKER],
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
