"""A containerd of our own, and sandboxes in it as a kubelet has them made: real CRI, in a folder of its own.

Sandboxes are in the host's network namespace, so that neither CNI nor a namespace is left behind by them; the pause
image is this machine's `sleep`, since there may be no registry.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from kroute.codec.cri import read_sandboxes
from kroute.codec.kni.wire import put_bytes, put_varint, walk
from support.netns import run, wait_for

_IMAGE = "kroute.test/pause:1"
_SERVICE = "/runtime.v1.RuntimeService/"
_NODE = 2
"""NamespaceMode: the host's."""
_CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
disable_tcp_service = true
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{folder}/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{folder}/runc"
"""


class Containerd:
    """Leaving the block removes its sandboxes, its processes and its folder, whatever became of it before."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kt-cri-"))
        self.socket = self.folder / "containerd.sock"
        self._cgroup = self.folder.name
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            config = _CONFIG.format(folder=self.folder, image=_IMAGE)
            (self.folder / "config.toml").write_text(config)
            self.start()
            self._import()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- the daemon ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Have it answer."""
        with (self.folder / "log").open("ab") as log:
            command = ["containerd", "--config", str(self.folder / "config.toml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._answers, 20.0, f"containerd to answer: {self.folder / 'log'}")

    def stop(self) -> None:
        """End it; its sandboxes go on."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20.0)
            self._process = None

    def freeze(self) -> None:
        """Let it hang; all its threads have stopped when this returns."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def revive(self) -> None:
        """Have it answer, whatever was done to it."""
        if self._process is None:
            self.start()
        self.thaw()

    def close(self) -> None:
        """Nothing of it is left."""
        if self._process is not None:
            self.thaw()
        with suppress(grpc.RpcError):
            for sandbox in self.listed():
                self.remove(sandbox)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for (
            process
        ) in self._processes():  # shims of sandboxes that could not be removed, and what they run
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for mount in self._mounts():
            run(["umount", "-l", mount], check=False)
        for group in Path("/sys/fs/cgroup").glob(f"*/{self._cgroup}"):
            with suppress(OSError):
                group.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        with suppress(grpc.RpcError):
            self._call("Version")
            return True
        return False

    def _processes(self) -> list[int]:
        """Those whose command or root names our folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                group = (entry / "cgroup").read_text()
                if str(self.folder) in words or f"/{self._cgroup}/" in group:
                    found.append(int(entry.name))
        return found

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        points = [line.split()[1] for line in lines]
        return [point for point in reversed(points) if point.startswith(f"{self.folder}/")]

    # --- sandboxes ----------------------------------------------------------------------------------------

    def run(self, name: str, *, uid: str = "", attempt: int = 0) -> str:
        """RunPodSandbox of the pod `default/NAME`; its id."""
        metadata = _text(1, name) + _text(2, uid or f"uid-{name}") + _text(3, "default")
        metadata += _number(4, attempt)
        options = _message(1, _number(1, _NODE))
        linux = _text(1, f"/{self._cgroup}") + _message(2, options)
        config = _message(1, metadata) + _message(8, linux)
        reply = self._call("RunPodSandbox", _message(1, config))
        return str(next(raw.decode() for number, _kind, raw in walk(reply) if number == 1))

    def kill(self, sandbox: str) -> None:
        """The sandbox's process dies; the runtime will say that it is not ready."""
        pid = self.folder / "state/io.containerd.runtime.v2.task/k8s.io" / sandbox / "init.pid"
        os.kill(int(pid.read_text()), signal.SIGKILL)

    def remove(self, sandbox: str) -> None:
        """StopPodSandbox, RemovePodSandbox: what the kubelet does last."""
        self._call("StopPodSandbox", _text(1, sandbox))
        self._call("RemovePodSandbox", _text(1, sandbox))

    def listed(self) -> list[str]:
        """The ids of all."""
        return list(read_sandboxes(self._call("ListPodSandbox")))

    def is_ready(self, sandbox: str) -> bool:
        """Whether its process lives."""
        return read_sandboxes(self._call("ListPodSandbox"))[sandbox].ready

    def _call(self, method: str, request: bytes = b"") -> bytes:
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            call: Any = channel.unary_unary(_SERVICE + method)
            answer: bytes = call(request, timeout=20.0)
        return answer

    # --- the image ----------------------------------------------------------------------------------------

    def _import(self) -> None:
        image = self.folder / "pause.tar"
        image.write_bytes(_image())
        run(["ctr", "-a", str(self.socket), "-n", "k8s.io", "images", "import", str(image)])


def _image() -> bytes:
    """An OCI image whose only program sleeps, as a tar archive."""
    linked = re.findall(r"/\S+", run(["ldd", "/bin/sleep"]))
    layer = _tar({path.lstrip("/"): Path(path).read_bytes() for path in ("/bin/sleep", *linked)})
    program = {"Entrypoint": ["/bin/sleep", "infinity"]}
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    layers = {"type": "layers", "diff_ids": [_digest(layer)]}
    config = _json({"architecture": machine, "os": "linux", "config": program, "rootfs": layers})
    oci = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "config": _described(f"{oci}.config.v1+json", config),
            "layers": [_described(f"{oci}.layer.v1.tar", layer)],
        }
    )
    named = {"annotations": {"io.containerd.image.name": _IMAGE}}
    index = {"manifests": [_described(f"{oci}.manifest.v1+json", manifest) | named]}
    blobs = {f"blobs/sha256/{_digest(b)[7:]}": b for b in (layer, config, manifest)}
    whole = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), **blobs}
    return _tar(whole | {"index.json": _json({"schemaVersion": 2, **index})})


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _described(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


# --- requests, written by hand --------------------------------------------------------------------------


def _message(field: int, content: bytes) -> bytes:
    out = bytearray()
    put_bytes(out, field, content)
    return bytes(out)


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _number(field: int, value: int) -> bytes:
    out = bytearray()
    put_varint(out, field << 3)
    put_varint(out, value)
    return bytes(out)
