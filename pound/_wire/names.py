"""What a service may be called: the rules that clients, workers and the broker share."""

NAME_BYTES_MAX = 255  # a service name's length travels in the protocols as at most this
RESERVED_PREFIXES = ("mmi.", "pound.")  # of the broker's own services
