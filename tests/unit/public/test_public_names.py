"""The package as people meet it: its names, and what a wrong first use of them is told."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

import pound
import pound.aio
from tests.support import clean_environ


def fresh(code: str) -> str:
    """Return what `code` prints in a new interpreter: names are imported when they are used."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
                          check=True, env=clean_environ())  # fmt: skip
    return done.stdout.strip()


def test_completion_sees_every_public_name() -> None:
    assert fresh("import pound; print(set(pound.__all__) - set(dir(pound)))") == "set()"
    words = "; print([n for n in dir(pound) if n[:2] != '__' and n not in pound.__all__])"
    assert fresh(f"import pound; pound.Client{words}") == "[]"
    star = "from pound import *; print(Client, aio.Client, errors.Busy is Busy)"
    assert fresh(star).endswith("True")
    assert fresh("import pound; print(pound.errors.Busy is pound.Busy)") == "True"
    assert fresh("import pound; dir(pound); import sys; print('zmq' in sys.modules)") == "False"


def test_a_client_loads_no_more_than_it_needs() -> None:
    """Others would cost each start of a program 2..20 ms; zmq, logging and futures are needed."""
    needed = "import concurrent.futures, logging, sys, zmq; before = set(sys.modules)"
    loaded = set(
        fresh(f"{needed}; from pound import Client; print(*set(sys.modules) - before)").split()
    )
    ours = {name for name in loaded if name.partition(".")[0] == "pound"}
    assert "pound._engine.client" in ours
    assert not ours & {"pound.config", "pound.broker", "pound._core", "pound.aio", "pound.worker"}
    assert len(loaded - ours) <= 8, sorted(loaded - ours)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pound.Broker("tcp://127.0.0.1:5555"), "give settings by name: .*frontend="),
        (lambda: pound.Broker(5555), "is a pound.Config, not 5555"),
        (lambda: pound.Broker({"frontend": "tcp://127.0.0.1:*"}), "is a pound.Config, not {"),
        (lambda: pound.Broker(fronted="tcp://127.0.0.1:*"), "'fronted'; did you mean 'frontend'"),
    ],
)
def test_a_broker_that_is_made_wrongly_says_how_it_is_made(make, words) -> None:
    with pytest.raises(TypeError, match=words):
        make()


def test_a_broker_its_streams_and_its_futures_are_not_pickled() -> None:
    with pound.Client("tcp://127.0.0.1:1") as client:
        ours = {
            "a pound.Broker .* pass its config": pound.Broker(),
            "the future of a request .* pass the answer": client.submit("", b""),
            "a Stream .* pass the answer": client.stream("", b""),
        }
        for words, value in ours.items():
            for copied in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match=words):
                    copied(value)


def test_errors_cross_processes_with_what_they_say() -> None:
    error = pickle.loads(pickle.dumps(pound.Busy("too much", retry_after=2.0)))
    assert type(error) is pound.Busy
    assert (str(error), error.code, error.retry_after) == ("too much", 8, 2.0)
