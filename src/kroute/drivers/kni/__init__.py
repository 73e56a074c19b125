"""The KNI network runtime: gRPC at the door, one core that attaches, detaches and answers, one store that remembers.

``server`` and ``door`` are the sockets, ``core`` the decisions carried out under a lock for each pod, ``plugins`` runs
CNI plugins as libcni does, ``fast`` does the same work over netlink where it can, ``store`` remembers, ``gc`` finds
what nobody needs any more. grpcio is loaded by ``server`` alone, so a daemon without KNI never pays for it.
"""
