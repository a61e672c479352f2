"""Peers over real sockets: every dialect on each side."""
