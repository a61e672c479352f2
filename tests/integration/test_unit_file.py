"""The unit of deploy/ allows a broker what it needs: it is run under the unit's sandbox."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT, Process, Served, pound_command

Spawn = Callable[..., Process]
UNIT = ROOT / "deploy" / "pound.service"
SANDBOX = ROOT / "tests" / "integration" / "sandbox.py"

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="seccomp of x86-64 Linux"
)


def serve(spawn: Spawn, unit: Path, *options: str) -> Process:
    return spawn([sys.executable, str(SANDBOX), str(unit), *pound_command("serve", *options)])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "*"])
def test_tcp_is_served(spawn: Spawn, run_pound: Callable[..., object], host: str) -> None:
    broker = f"tcp://{host}:*"
    options = ["--frontend", broker, "--backend", broker, *(["--insecure"] if host == "*" else [])]
    served = Served(serve(spawn, UNIT, *options))
    run_pound("status", "--connect", served.frontend)


def test_an_ipc_endpoint_is_given_to_a_group(spawn: Spawn, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    config = tmp_path / "pound.toml"
    listen = f'[[listen]]\nendpoint = "ipc://{path}"\nmode = "0660"\nowner = ":{os.getegid()}"\n'
    config.write_text(listen)
    process = serve(spawn, UNIT, "--config", str(config))
    process.wait_line("^pound: ready")
    assert path.stat().st_mode & 0o777 == 0o660


def test_the_mode_of_an_ipc_endpoint_takes_no_right_to_give_files_away(
    spawn: Spawn, tmp_path: Path
) -> None:
    unit = tmp_path / "unit"
    unit.write_text(UNIT.read_text().replace("SystemCallFilter=@chown\n", ""))
    path, config = tmp_path / "socket", tmp_path / "pound.toml"
    listen = f'[[listen]]\nendpoint = "ipc://{path}"\nmode = "0660"\n'
    config.write_text(listen)
    serve(spawn, unit, "--config", str(config)).wait_line("^pound: ready")
    assert path.stat().st_mode & 0o777 == 0o660
    other = listen.replace("socket", "given")
    config.write_text(f'{other}owner = ":{os.getegid()}"\n')
    refused = serve(spawn, unit, "--config", str(config))
    assert refused.wait() == 3
    assert "this user may not give it to " in refused.stderr


def test_a_sandbox_without_netlink_is_an_error_that_names_it(spawn: Spawn, tmp_path: Path) -> None:
    """libzmq would end the process."""
    unit = tmp_path / "unit"
    unit.write_text(UNIT.read_text().replace(" AF_NETLINK", ""))
    process = serve(
        spawn, unit, "--frontend", "tcp://127.0.0.1:*", "--backend", "tcp://127.0.0.1:*"
    )
    assert process.wait() == 3
    assert "add AF_NETLINK to RestrictAddressFamilies" in process.stderr
