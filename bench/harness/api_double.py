"""``python api_double.py NODES.json``: the tests' double of the Kubernetes API with these nodes, until killed."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from support.fakekube import FakeKube

if __name__ == "__main__":
    kube = FakeKube("127.0.0.1", 8001, bookmark_every=10)
    kube.store.replace("nodes", json.loads(Path(sys.argv[1]).read_text())["items"])
    kube.start()
    print("serving", flush=True)
    signal.pause()
