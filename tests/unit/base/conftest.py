"""The probe of the data structures."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests import probe


@pytest.fixture(scope="session")
def leaves() -> ModuleType:
    return probe.load()
