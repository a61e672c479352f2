"""The Majordomo 0.2 client as a program; the class is in `tests.peers.mdp2`."""

from tests.peers.mdp2 import Mdp2Client
from tests.peers.program import client_main

if __name__ == "__main__":
    client_main(Mdp2Client)
