"""Observes what the kernel has besides our own routes: links, addresses, others' routes. Changes nothing."""

from kroute.drivers.kernel.watcher import KernelWatcher

__all__ = ["KernelWatcher"]
