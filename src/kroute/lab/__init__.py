"""Labs: containerlab topologies on network namespaces, or on containerlab itself.

A lab is a folder with ``<name>.clab.yml``, ``checks.yml``, a README and its nodes' files. The topology stays valid
for containerlab; this package is a second way to run it, which needs root and a Linux kernel and no container engine.

``clabfile`` reads the topology, ``netns`` and ``clab`` run it (both are a :class:`~kroute.lab.backend.Backend`),
``checks`` reads ``checks.yml`` and ``runner`` performs it, ``pods`` does what a container runtime does with CNI
plugins. kroute is treated as users treat it, as the program ``kroute``: nothing here imports the daemon.
"""
