"""The version, in one place: the package metadata, the command line and the status read it."""

__version__ = "0.1.0"
