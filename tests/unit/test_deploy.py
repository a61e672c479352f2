"""The files of deploy/: what they name exists, and the commands in them are commands of Pound.

That an image is built and a container runs is not tested: it needs Docker and the network.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from pound.cli import main
from tests.support import ROOT, need

DEPLOY = ROOT / "deploy"


def compose() -> dict[str, Any]:
    need("module:yaml")
    import yaml

    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def script(service: dict[str, Any]) -> list[str]:
    """The commands of Pound in what a service runs by a shell."""
    return [line for line in service["command"][0].splitlines() if line.startswith("pound ")]


def check(words: list[str]) -> None:
    """Fail unless the words are a command of Pound, with options that it has."""
    command: click.Command = main
    while isinstance(command, click.Group):
        word, *words = words
        command = command.commands[word]
    options = {flag for param in command.params for flag in param.opts if flag.startswith("--")}
    given = {word for word in words if word.startswith("--")}
    assert given <= options, f"{command.name} has no {given - options}"
    needed = {p.opts[0] for p in command.params if isinstance(p, click.Option) and p.required}
    assert needed <= given, f"{command.name} needs {needed - given}"


def dockerfile(instruction: str) -> list[str]:
    """The words of the last instruction of this kind, which is in the exec form."""
    text = (DEPLOY / "Dockerfile").read_text()
    found = re.findall(rf"^{instruction} (?:--\S+ )*(?:CMD )?(\[.*\])$", text, re.MULTILINE)
    words: list[str] = json.loads(found[-1])
    return words


def test_the_image_runs_pound_as_an_ordinary_user() -> None:
    assert dockerfile("ENTRYPOINT") == ["pound"]
    check(dockerfile("CMD"))
    assert dockerfile("HEALTHCHECK")[0] == "pound"
    check(dockerfile("HEALTHCHECK")[1:])
    (user,) = re.findall(r"^USER (\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert int(user) > 0
    assert f"--uid {user}" in (DEPLOY / "Dockerfile").read_text()
    assert f"--gid {user}" in (DEPLOY / "Dockerfile").read_text()
    assert f"chgrp -R {user} " in (DEPLOY / "compose.yaml").read_text()


def test_the_services_run_commands_of_pound() -> None:
    services = compose()["services"]
    for command in script(services["keys"]):
        check(shlex.split(command)[1:])
    for name in ("broker", "worker-1", "worker-2"):
        check(services[name]["command"])


def test_each_service_has_the_keys_that_it_needs_and_no_others() -> None:
    loaded = compose()
    services, volumes = loaded["services"], loaded["volumes"]
    for name, service in services.items():
        mounts = dict(mount.split(":")[:2] for mount in service["volumes"])
        named = {volume: path for volume, path in mounts.items() if not volume.startswith(".")}
        assert set(named) <= set(volumes), name
        assert name in ("keys", "broker") or "keys" not in named, name
        key = service.get("environment", {}).get("POUND_KEY")
        assert name == "keys" or str(Path(key).parent) in named.values(), name
    made = " ".join(script(services["keys"]))
    assert set(re.findall(r"/credentials/([\w-]+)/", made)) == set(volumes) - {"keys"}


@pytest.mark.parametrize("name", ["broker", "worker-1", "worker-2", "client"])
def test_a_service_has_few_rights(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "user" not in service  # the image's


def test_the_unit_runs_a_command_of_pound() -> None:
    unit = (DEPLOY / "pound.service").read_text()
    (line,) = re.findall(r"^ExecStart=\S+/pound (.*)$", unit, re.MULTILINE)
    words = line.split()
    check([words[0], *("--config" if word == "-c" else word for word in words[1:])])
