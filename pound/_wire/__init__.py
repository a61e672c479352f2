"""Bytes to records and back: PND/1 and the dialects of the ZeroMQ Guide.

No peer and no socket is known here. May import `_base`.

codes     PND/1's error codes; the dialects' numbers and names
dialects  what a message of the Guide's peers says; the frames before a body that goes to one
names     what a service may be called, for Python
packets   PND/1: a packet in, records out; records in, a packet out
"""
