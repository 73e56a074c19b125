"""What a cluster is given: manifests the API knows, no right too many, a command line and configuration that parse."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from kroute.cli import build_parser
from kroute.codec.config import parse_config
from kroute.model.config import InventoryKind
from kroute.model.config_peering import Topology

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFEST = DEPLOY / "daemonset.yaml"
OVERLAYS = sorted(DEPLOY.glob("overlays/*/kustomization.yaml"))
INSTALLER = ROOT / "scripts" / "install-cni-plugins"
PLUGINS = ("bridge", "host-local", "loopback", "portmap")

READ = ["list", "watch"]


def documents(path: Path) -> list[dict[str, Any]]:
    found = [document for document in yaml.safe_load_all(path.read_text()) if document]
    assert found
    return found


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [d for d in documents(MANIFEST) if d["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    return of_kind("DaemonSet")["spec"]["template"]["spec"]


def daemon() -> dict[str, Any]:
    (container,) = pod()["containers"]
    return container


def installer() -> dict[str, Any]:
    (container,) = pod()["initContainers"]
    return container


def patches(overlay: Path) -> Iterator[dict[str, Any]]:
    for patch in yaml.safe_load(overlay.read_text())["patches"]:
        yield from documents(overlay.parent / patch["path"])


def configurations() -> dict[str, str]:
    """Every kroute.yaml that is deployed, by where it stands."""
    found = {"daemonset.yaml": of_kind("ConfigMap")["data"]["kroute.yaml"]}
    for overlay in OVERLAYS:
        for patch in patches(overlay):
            if patch["kind"] == "ConfigMap":
                found[str(overlay.parent.relative_to(DEPLOY))] = patch["data"]["kroute.yaml"]
    return found


@pytest.mark.parametrize("document", documents(MANIFEST), ids=lambda d: d["kind"])
def test_the_api_knows_every_field(document: dict[str, Any]):
    model = getattr(client, f"V1{document['kind']}")
    known = model.model_validate(document)
    assert known.model_dump(by_alias=True, exclude_unset=True, mode="json") == document


def test_a_field_that_the_api_does_not_know_is_refused():
    daemonset = of_kind("DaemonSet")
    daemonset["spec"]["template"]["spec"]["containers"][0]["capabilities"] = {}
    with pytest.raises(ValueError, match="capabilities"):
        client.V1DaemonSet.model_validate(daemonset)


def test_every_object_is_named_kroute_and_lives_in_kube_system():
    for document in documents(MANIFEST):
        assert document["metadata"]["name"] == "kroute"
        if not document["kind"].startswith("ClusterRole"):
            assert document["metadata"]["namespace"] == "kube-system"


def test_the_service_account_may_follow_nodes_and_services_and_create_events_and_nothing_else():
    assert of_kind("ClusterRole")["rules"] == [
        {"apiGroups": [""], "resources": ["nodes", "services"], "verbs": READ},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]
    binding = of_kind("ClusterRoleBinding")
    assert binding["roleRef"]["name"] == of_kind("ClusterRole")["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert (
        subject["name"]
        == pod()["serviceAccountName"]
        == of_kind("ServiceAccount")["metadata"]["name"]
    )


def test_the_containers_hold_the_capabilities_they_need_and_no_other():
    context = daemon()["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    assert set(context["capabilities"]["add"]) == {
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "SETUID",
        "SETGID",
        "SETPCAP",
        "KILL",
    }
    assert installer()["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for container in (daemon(), installer()):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert "privileged" not in container["securityContext"]


def test_it_runs_on_the_hosts_network_on_every_node_before_others():
    assert pod()["hostNetwork"] is True
    assert pod()["tolerations"] == [{"operator": "Exists"}]
    assert pod()["priorityClassName"] == "system-node-critical"
    update = of_kind("DaemonSet")["spec"]["updateStrategy"]
    assert update == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}


def test_the_selector_matches_the_pods():
    spec = of_kind("DaemonSet")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()


def test_every_mount_has_its_volume_and_every_volume_is_mounted():
    volumes = {v["name"] for v in pod()["volumes"]}
    mounts = [m for c in (daemon(), installer()) for m in c["volumeMounts"]]
    assert {m["name"] for m in mounts} == volumes
    config_map = next(v["configMap"]["name"] for v in pod()["volumes"] if "configMap" in v)
    assert config_map == of_kind("ConfigMap")["metadata"]["name"]
    assert all("subPath" not in m for m in mounts), "a subPath mount never sees a changed ConfigMap"


def test_probes_ask_the_daemon_on_loopback():
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in paths.items():
        assert daemon()[probe]["httpGet"] == {"host": "127.0.0.1", "port": 20244, "path": path}


def test_the_node_name_comes_from_the_pods_own_node():
    (variable,) = daemon()["env"]
    assert variable["name"] == "NODE_NAME"
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"


def test_image_tags_follow_the_projects_version_and_name_no_registry():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {c["image"] for c in (daemon(), installer())} == {f"kroute:{version}"}
    containerfile = (ROOT / "Containerfile").read_text()
    assert f'image.version="{version}"' in containerfile
    bases = re.findall(r"^FROM (\S+)", containerfile, re.MULTILINE)
    assert set(bases) == {"debian:bookworm-slim", "base"}


def test_the_image_has_what_the_manifest_starts():
    containerfile = (ROOT / "Containerfile").read_text()
    assert f"COPY scripts/{INSTALLER.name} {installer()['command'][0]}" in containerfile
    assert 'CMD ["kroute", "run", "--config", "/etc/kroute/kroute.yaml"]' in containerfile
    assert [*daemon()["command"], *daemon()["args"]] == [
        "kroute",
        "run",
        "--config",
        "/etc/kroute/kroute.yaml",
    ]
    for plugin in PLUGINS:
        assert f"/usr/lib/cni/{plugin} " in containerfile


def test_the_command_line_parses():
    arguments = build_parser(("run",)).parse_args(daemon()["args"])
    assert (arguments.command, arguments.config) == ("run", "/etc/kroute/kroute.yaml")


@pytest.mark.parametrize("where", configurations())
def test_every_deployed_configuration_is_taken_by_the_daemon(where: str):
    config = parse_config(configurations()[where], where)
    assert config.inventory.kind is InventoryKind.KUBERNETES
    assert (config.http.address, config.http.port) == ("127.0.0.1", 20244)
    mounts = {m["mountPath"] for m in daemon()["volumeMounts"]}
    assert {config.cni.directory, *config.cni.bin_directories} <= mounts
    assert {config.paths.run, config.paths.state} <= mounts


def test_the_overlays_say_what_their_names_promise():
    configs = {where: parse_config(text, where) for where, text in configurations().items()}
    assert configs["overlays/reflector"].peering.topology is Topology.ROUTE_REFLECTOR
    assert len(configs["overlays/tor"].peering.peers) == 2
    (leaf,) = configs["overlays/unnumbered"].peering.peers
    assert leaf.address_from is not None
    assert leaf.address_from.unnumbered is not None


def test_unnumbered_cables_need_one_capability_more_than_the_base():
    (overlay,) = (o for o in OVERLAYS if o.parent.name == "unnumbered")
    (patch,) = (p for p in patches(overlay) if p["kind"] == "DaemonSet")
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    added = container["securityContext"]["capabilities"]["add"]
    assert container["name"] == daemon()["name"]
    assert added == [*daemon()["securityContext"]["capabilities"]["add"], "NET_RAW"]


def test_kni_gets_the_mounts_that_its_configuration_names():
    (overlay,) = (o for o in OVERLAYS if o.parent.name == "kni")
    (patch,) = (p for p in patches(overlay) if p["kind"] == "DaemonSet")
    spec = patch["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    kni = parse_config(configurations()["overlays/kni"], "kni").kni
    mounts = {m["mountPath"]: m for m in [*daemon()["volumeMounts"], *container["volumeMounts"]]}
    assert kni.enabled
    sockets = {str(Path(socket).parent) for socket in (*kni.sockets, kni.cri_socket)}
    assert sockets | {kni.cache_directory} <= {*mounts}
    paths = {v["name"]: v["hostPath"]["path"] for v in spec["volumes"]}
    assert [paths[m["name"]] for m in container["volumeMounts"]] == [
        m["mountPath"] for m in container["volumeMounts"]
    ]
    assert paths[mounts["/tmp"]["name"]] == "/tmp", "the kubelet is to see the socket"
    # The API allows two-way propagation to privileged containers only, and those no escalation ban.
    assert mounts["/run/netns"]["mountPropagation"] == "Bidirectional"
    runtime = mounts[str(Path(kni.cri_socket).parent)]
    assert (runtime["readOnly"], runtime["mountPropagation"]) == (True, "HostToContainer")
    assert container["securityContext"]["privileged"]
    assert container["securityContext"]["allowPrivilegeEscalation"]


def test_two_overlays_grant_a_right_each_and_no_overlay_grants_anything_else():
    granted = {}
    for overlay in OVERLAYS:
        _, *more = yaml.safe_load(overlay.read_text())["resources"]
        for name in more:
            granted[overlay.parent.name] = documents(overlay.parent / name)
        assert all(patch["kind"] in ("ConfigMap", "DaemonSet") for patch in patches(overlay))
    kinds = {name: found[0]["kind"] for name, found in granted.items()}
    assert kinds == {"kni": "ClusterRole", "session-keys": "Role"}
    for role, binding in granted.values():
        for document in (role, binding):
            known = getattr(client, f"V1{document['kind']}").model_validate(document)
            assert known.model_dump(by_alias=True, exclude_unset=True, mode="json") == document
        (rule,) = role["rules"]
        assert rule["verbs"] == READ
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert binding["subjects"] == of_kind("ClusterRoleBinding")["subjects"]
    (pods, *_), (secrets, *_) = granted["kni"], granted["session-keys"]
    assert pods["rules"][0]["resources"] == ["pods"]
    assert secrets["rules"][0]["resources"] == ["secrets"]
    assert secrets["rules"][0]["resourceNames"]
    assert secrets["metadata"]["namespace"] == "kube-system"


def test_the_build_context_holds_every_file_that_is_copied():
    containerfile = (ROOT / "Containerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", containerfile, re.MULTILINE)
    named = [name for line in copied for name in line.split()]
    assert named
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    ]
    for name in named:
        assert any(name == a or name.startswith(f"{a}/") for a in allowed), name


def test_there_are_overlays_and_each_patches_an_object_of_the_base():
    """kustomize takes no base that contains the overlay, and the paths that people know go on to lead there."""
    assert len(OVERLAYS) >= 2
    base = DEPLOY / "base"
    assert yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"] == [base.name]
    below = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    assert [(base / name).resolve() for name in below] == [MANIFEST.resolve()]
    known = {
        (d["kind"], d["metadata"]["name"], d["metadata"].get("namespace"))
        for d in documents(MANIFEST)
    }
    for overlay in OVERLAYS:
        below, *_ = yaml.safe_load(overlay.read_text())["resources"]
        assert (overlay.parent / below).resolve() == base
        assert not overlay.is_relative_to(base)
        for patch in patches(overlay):
            named = (patch["kind"], patch["metadata"]["name"], patch["metadata"].get("namespace"))
            assert named in known


def install(folder: Path, source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([INSTALLER, folder, source], capture_output=True, text=True, check=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "image"
    folder.mkdir()
    for plugin in PLUGINS:
        (folder / plugin).write_text(f"image's {plugin}")
    return folder


def test_missing_plugins_are_installed_and_present_ones_stay(tmp_path: Path, source: Path):
    node = tmp_path / "node"
    node.mkdir()
    (node / "bridge").write_text("the node's own")
    (node / "bridge").chmod(0o755)
    (node / ".kroute-portmap.tmp").write_text("half of an earlier life")
    done = install(node, source)
    assert done.returncode == 0, done.stderr
    assert (node / "bridge").read_text() == "the node's own"
    for plugin in PLUGINS[1:]:
        assert (node / plugin).read_text() == f"image's {plugin}"
        assert (node / plugin).stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in node.iterdir()) == sorted(PLUGINS)
    assert install(node, source).stdout.count("left as it is") == len(PLUGINS)


def test_a_missing_plugin_folder_is_said(tmp_path: Path, source: Path):
    done = install(tmp_path / "absent", source)
    assert done.returncode == 1
    assert "absent is no folder" in done.stderr
