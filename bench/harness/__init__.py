"""What the benches stand on: namespaces, the other side of the sessions, the subjects, and the figures."""
