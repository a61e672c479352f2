"""Pound: a ZeroMQ load-balancing broker with a compiled core."""
