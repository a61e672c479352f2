"""The peers: other brokers that may be installed, as contestants of the bench.

The number in a name is the capacity of its workers; NATS knows none, and Gearman's is 1. The
load's ends for them are dialects of the load generator (dialect_*.c); serve.py starts servers.
"""

from __future__ import annotations

import sys

from bench.peers.servers import SERVERS
from bench.runner.subjects import Contestant


def _peer(name: str, server: str, dialect: str, capacity: int = 1) -> Contestant:
    command = (sys.executable, "-m", "bench.peers.serve", server)
    return Contestant(name, command, dialect, capacity, needs=SERVERS[server].needs())


PEERS = (
    _peer("nats", "nats", "nats"),
    _peer("gearmand", "gearman", "gearman"),
    _peer("redis-1", "redis", "redis"),
    _peer("redis-64", "redis", "redis", 64),
    _peer("rabbitmq-64", "rabbitmq", "amqp", 64),
)
