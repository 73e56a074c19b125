"""The program around ExaBGP: ``python -m kroute.speaker``, a child of the daemon.

ExaBGP's Peer, Protocol and capability classes own OPEN, timers and the state machine of every session; this
package gives them sockets, an event loop and a way to talk to the daemon. Routes are neither kept nor read
here: UPDATE messages travel as they came (see :mod:`kroute.codec.frames`). The package imports ExaBGP, the
standard library, that module, and :mod:`kroute.codec.notification` for words. Everything that leans on how ExaBGP
is made inside lies in :mod:`kroute.speaker.hooks`, and ``tests/contract`` says what no longer fits when the pinned
version moves.
"""
