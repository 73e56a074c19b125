"""KNI on the wire: protobuf, messages and methods of every generation, CNI results, records. Bytes in, values out.

``wire`` is protobuf itself, ``messages`` the tables of fields, ``methods`` which RPC carries which message,
``descriptors`` what ``make proto`` got from ``proto/*.proto`` (for reflection), ``record`` how attachments are stored,
``cni`` what plugins are given and what they answer.
"""
