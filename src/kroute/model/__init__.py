"""The vocabulary: frozen values that every other package speaks in. Standard library only.

One file per topic: ``net`` (families, prefixes, NLRI keys), ``node``, ``bgp`` (peers, sessions, path
attributes), ``fib`` (next hops of the kernel), ``cni``, ``config``, ``problem``, ``errors``, ``events``.
"""
