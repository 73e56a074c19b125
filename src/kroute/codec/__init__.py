"""Bytes and text to values and back, without I/O.

``config`` and ``yaml12`` (the configuration file), ``kubernetes`` (API objects), ``bgp`` (UPDATE bodies),
``frames`` (between daemon and speaker), ``rtnetlink*`` (kernel routes and links), ``conflist`` (CNI), ``show``
(tables for people).
"""
