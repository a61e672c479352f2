"""Foreign peers: clients and workers of every dialect, for tests over real sockets.

They are written from the RFCs (6/PPP, 7/MDP, 18/MDP, 8/MMI), from the text of the ZeroMQ Guide and
from docs/protocol.md with bare pyzmq and struct. Nothing here imports Pound: a mistake in Pound's
codec cannot hide behind the same mistake in its tests.

A peer belongs to one thread. Clients have ``request``; workers have ``task``, ``answer`` and
``serve``. Each module is also a program: ``python -m tests.peers.req_worker URL``.
"""
