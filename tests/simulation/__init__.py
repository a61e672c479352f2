"""The dispatcher under a virtual clock, a model of libzmq and peers that fail."""
