"""The probe of keys."""

from __future__ import annotations

from typing import Any

import pytest

from tests import probe


@pytest.fixture(scope="session")
def security() -> Any:
    return probe.load("security")
