"""The Majordomo 0.2 worker as a program; the class is in `tests.peers.mdp2`."""

from tests.peers.mdp2 import Mdp2Worker
from tests.peers.program import worker_main

if __name__ == "__main__":
    worker_main(Mdp2Worker)
