"""The Majordomo 0.1 client as a program; the class is in `tests.peers.mdp1`."""

from tests.peers.mdp1 import Mdp1Client
from tests.peers.program import client_main

if __name__ == "__main__":
    client_main(Mdp1Client)
