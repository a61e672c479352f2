"""The Majordomo 0.1 worker as a program; the class is in `tests.peers.mdp1`."""

from tests.peers.mdp1 import Mdp1Worker
from tests.peers.program import worker_main

if __name__ == "__main__":
    worker_main(Mdp1Worker)
