"""The package as people meet it: its names, and what a wrong first use of them is told."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import pound
import pound.aio
from pound._engine.client_options import ClientOptions
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
            "a pound.Standby .* pass its config": pound.Standby(standby_of="tcp://a:5555"),
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


# -- what help() says -----------------------------------------------------------------------

MADE_FOR_THE_CALLER = {"pound.Stream", "pound.Task", "pound.aio.Stream", "pound.aio.Task"}


def described() -> Iterator[tuple[str, Any]]:
    """Yield every public class that has arguments of its own, and every public method."""
    for home in (pound, pound.aio):
        for name in home.__all__:
            kind = getattr(home, name)
            if not inspect.isclass(kind) or hasattr(kind, "__origin__"):  # an alias is none
                continue
            full = f"{home.__name__}.{name}"
            own = not issubclass(kind, Exception) or "__init__" in vars(kind)
            if own and full not in MADE_FOR_THE_CALLER | {"pound.Config"}:  # its keys have a page
                yield full, kind
            for method, static in vars(kind).items():
                if not method.startswith("_") and callable(getattr(kind, method)):
                    yield f"{full}.{method}", getattr(static, "__func__", static)


def section(doc: str, title: str) -> str:
    """Return what a numpydoc section holds, empty if there is none."""
    parts = re.split(r"^(\w+)\n-+$", inspect.cleandoc(doc), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(title, "")


@pytest.mark.parametrize(("name", "described"), [pytest.param(*d, id=d[0]) for d in described()])
def test_a_docstring_names_every_argument_and_what_is_returned(name: str, described: Any) -> None:
    doc = described.__doc__
    assert doc, f"{name} has no docstring"
    signature = inspect.signature(described)
    heads = re.findall(r"^\S.*", section(doc, "Parameters"), re.MULTILINE)
    names = {name.strip(" *") for head in heads for name in head.partition(" :")[0].split(",")}
    assert names == set(signature.parameters) - {"self", "cls"}, name
    returned = signature.return_annotation
    if not inspect.isclass(described) and returned not in (inspect.Signature.empty, "None", None):
        assert section(doc, "Returns"), f"{name} does not say what it returns"


@pytest.mark.parametrize("kind", [pound.Client, pound.Worker, pound.aio.Client, pound.aio.Worker])
def test_help_shows_every_option_with_its_default(kind: type) -> None:
    shown = pydoc.render_doc(kind, renderer=pydoc.plaintext)
    for option in (
        "endpoints: 'str | Sequence[str]' = 'tcp://",
        "heartbeat: 'float' = 1.0",
        "liveness: 'int' = 5",
        "label: 'str | None' = None",
        "copy: 'bool' = True",
    ):
        assert option in shown
    with pytest.raises(TypeError, match=rf"{kind.__name__}\.__init__\(\) got .* 'endpoint'"):
        kind(endpoint="tcp://127.0.0.1:1")


def test_clients_and_workers_connect_where_a_broker_listens_by_default() -> None:
    """They have their own defaults, since a client does not load the broker's configuration."""
    config = pound.Config()
    for kind, listens in ((pound.Client, config.frontend), (pound.Worker, config.backend)):
        for made in (kind, getattr(pound.aio, kind.__name__)):
            defaults = {n: p.default for n, p in inspect.signature(made).parameters.items()}
            assert (defaults["endpoints"],) == listens
            rates = (defaults["heartbeat"], defaults["liveness"])
            assert rates == (config.heartbeat, config.liveness)
            assert defaults.get("drain_timeout", config.drain_timeout) == config.drain_timeout


def test_the_options_of_a_client_are_those_that_its_type_names() -> None:
    parameters = inspect.signature(pound.Client).parameters
    options = {name: p.annotation for name, p in parameters.items()}
    typed = {name: kind.__forward_arg__ for name, kind in ClientOptions.__annotations__.items()}
    assert {"endpoints": options["endpoints"], **typed, "copy": "bool"} == options
