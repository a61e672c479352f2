"""The libzmq that pyzmq loaded, and what its users must know of it.

May import `_base`.

accept   its accept(), which survives that no descriptor is left
libzmq   the table of its functions
pipes    the bytes that it still holds of messages that were sent
receive  reading a socket and its monitor without waiting
"""
