"""Commands as another user than root."""

from __future__ import annotations


def as_user(uid: int = 65534) -> list[str]:
    """What goes before a command. The user may read all files, as the clone may be in root's home, and write none."""
    may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *may_read]
