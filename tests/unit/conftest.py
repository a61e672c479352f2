"""Clients of a scripted broker, for the tests of the client; how Hypothesis judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, settings

import pound
from tests import probe
from tests.unit.reference_broker import WAIT_S, ReferenceBroker

# How long an example takes says how busy the machine is.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")


@pytest.fixture(scope="session")
def hands() -> Any:
    """The probe of engines, built before any client waits for heartbeats."""
    return probe.load("engines")


@pytest.fixture
def broker(context: zmq.Context[Any]) -> Iterator[ReferenceBroker]:
    broker = ReferenceBroker(context)
    yield broker
    broker.close()


@pytest.fixture
def make_client(hands: Any, broker: ReferenceBroker) -> Iterator[Callable[..., pound.Client]]:
    """``make_client(**settings)``: a client of the scripted broker."""
    clients: list[pound.Client] = []

    def make(**settings: Any) -> pound.Client:
        client = pound.Client(settings.pop("endpoints", broker.endpoint), **settings)
        clients.append(client)
        return client

    yield make
    broker.close()  # so that no client waits for an answer to its BYE
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., pound.Client], broker: ReferenceBroker) -> pound.Client:
    """A client that the broker has welcomed."""
    client = make_client()
    broker.greet()
    assert client.wait_connected(WAIT_S)
    return client
