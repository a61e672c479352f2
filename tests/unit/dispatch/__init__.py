"""The rules of the dispatcher, each with its test. Numbers of entities count up from 0."""

from tests import probe

probe.load("dispatcher")  # what the modules of this package import from
