from typing import final

@final
class Part:
    """A part of a body in libzmq's memory, for memoryviews that share it."""
