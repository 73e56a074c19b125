"""kube-router's settings in kroute's words: every flag is translated, named as different, or refused with a reason."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kroute.cli import NO, OK, main
from kroute.codec.config import parse_config
from kroute.codec.kube_router.deployment import Deployment, read_deployment
from kroute.codec.kube_router.translate import translate
from kroute.model.errors import InputError


def translated(*arguments: str):
    found = translate(Deployment(arguments=arguments))
    return found, parse_config(yaml.safe_dump(found.document))


def manifest(*arguments: str, conflist: object = None) -> str:
    config = {"kind": "ConfigMap", "data": {"cni-conf.json": json.dumps(conflist)}}
    container = {"name": "kube-router", "image": "kube-router", "args": list(arguments)}
    workload = {
        "kind": "DaemonSet",
        "spec": {"template": {"spec": {"containers": [{"name": "other"}, container]}}},
    }
    return yaml.safe_dump_all([config, workload])


def test_defaults_take_over_bridge_leases_and_routes():
    _, config = translated("--run-router=true")
    assert (config.bgp.asn, config.cni.bridge, config.cni.network) == (
        64512,
        "kube-bridge",
        "mynet",
    )
    assert config.fib.former_protocols == (17,)
    assert config.inventory.kind.value == "kubernetes"


def test_bridge_and_network_are_those_of_its_conflist():
    conflist = {
        "cniVersion": "0.3.0",
        "name": "pods",
        "plugins": [{"type": "bridge", "bridge": "br9"}],
    }
    deployed = read_deployment(manifest("--v=3", conflist=conflist), "ds.yaml")
    assert (deployed.bridge, deployed.network) == ("br9", "pods")
    assert deployed.arguments == ("--v=3",)


def test_peers_in_parallel_lists_become_objects_and_no_password_is_printed():
    found, config = translated(
        "--peer-router-ips=192.0.2.1,2001:db8::1",
        "--peer-router-asns", "64601,64602",
        "--peer-router-ports=179,1790",
        "--peer-router-passwords=c2VjcmV0,",
        "--peer-router-multihop-ttl=3",
        "--bgp-holdtime=30s",
    )  # fmt: skip
    first, second = config.peering.peers
    assert (str(first.address), first.asn, first.multihop, first.hold_time) == (
        "192.0.2.1",
        64601,
        3,
        30,
    )
    assert first.password_file == "/etc/kroute/secrets/router1"
    assert (str(second.address), second.port, second.password_file) == ("2001:db8::1", 1790, None)
    assert "c2VjcmV0" not in repr(found)


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        (["--peer-router-ips=192.0.2.1,192.0.2.2", "--peer-router-asns=1"], "--peer-router-asns"),
        (["--peer-router-ips=nowhere", "--peer-router-asns=1"], "--peer-router-ips"),
        (["--cluster-asn=many"], "--cluster-asn"),
        (["--bgp-graceful-restart-time=90"], "--bgp-graceful-restart-time"),
        (["--enable-ibgp=perhaps"], "--enable-ibgp"),
        (["--no-such-flag=1"], "--no-such-flag"),
    ],
)
def test_a_flag_that_cannot_be_read_is_named_and_the_rest_is_translated(flags, where):
    found, config = translated(*flags, "--bgp-port=1790")
    assert [c.path for c in found.complaints] == [where]
    assert config.bgp.port == 1790
    assert config.peering.peers == ()


def test_what_is_different_is_said():
    found, _ = translated("--enable-overlay=true", "--enable-pod-egress", "--enable-bfd=true")
    said = " ".join(found.notes)
    assert all(word in said for word in ("tunnels", "masquerade", "BFD"))


def test_graceful_restart_and_topology_are_translated():
    _, config = translated(
        "--bgp-graceful-restart", "--bgp-graceful-restart-time=1m30s", "--enable-ibgp=false"
    )
    assert config.bgp.graceful_restart.restart_time == 90
    assert config.peering.topology.value == "none"


@pytest.mark.parametrize("text", ["", "nothing of it", "spec: {containers: []}", "a 'quote"])
def test_a_file_that_is_no_deployment_is_refused(text):
    with pytest.raises(InputError, match=r"f\.txt"):
        read_deployment(text, "f.txt")


@given(st.lists(st.sampled_from(["--cluster-asn", "--bgp-port", "--peer-router-ips"]) | st.text()))
def test_any_command_line_gives_a_valid_configuration(words):
    translated(*words)


@given(st.text())
def test_any_text_is_a_deployment_or_refused(text):
    try:
        translate(read_deployment(text + " containers", "f"))
    except InputError:
        pass


def test_the_command_prints_a_file_that_check_config_accepts(tmp_path, capsys):
    file, out = tmp_path / "ds.yaml", tmp_path / "kroute.yaml"
    file.write_text(manifest("--cluster-asn=64999"))
    assert main(["check-config", "--from-kube-router", str(file)]) == OK
    out.write_text(capsys.readouterr().out)
    assert main(["check-config", str(out)]) == OK
    file.write_text(manifest("--no-such-flag"))
    assert main(["check-config", "--from-kube-router", str(file)]) == NO
    assert "--no-such-flag" in capsys.readouterr().err
    assert main(["check-config", "--from-kube-router", str(tmp_path / "absent")]) == NO


def test_services_and_reflectors_are_translated():
    _, config = translated(
        "--advertise-cluster-ip=true",
        "--advertise-loadbalancer-ip",
        "--loadbalancer-ip-range=198.51.100.0/24,2001:db8:5::/64",
        "--nodes-full-mesh=false",
    )
    assert config.services.advertise == ("clusterIP", "loadBalancerIP")
    assert [str(p) for p in config.services.ranges] == [
        "10.96.0.0/12",
        "198.51.100.0/24",
        "2001:db8:5::/64",
    ]
    assert config.peering.route_reflector.label == "kube-router.io/rr.server"
    assert config.bgp.asn_label == "kube-router.io/node.asn"
    assert config.peering.kube_router_annotations
    found, _ = translated("--advertise-external-ip=true", "--service-external-ip-range=nowhere")
    assert [c.path for c in found.complaints] == ["--service-external-ip-range"]
