"""kube-router's words in kroute's: ``annotations`` of nodes and services, read live; ``translate`` for its deployment
(``kroute check-config --from-kube-router``).

Written from kube-router 2.11's documented behaviour. What has no counterpart is said, never dropped in silence.
"""
