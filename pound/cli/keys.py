"""``pound keys``: the keys of a broker, and who may connect to it.

Each command works on the directory of `pound.security.keyring`. A secret is written to one file,
for its owner alone, and never printed.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from pound._base.addresses import is_loopback, split_endpoint
from pound.cli.inspect import json_option, table, wide_option
from pound.cli.moments import Moment
from pound.config import keys as config_keys
from pound.errors import ConfigError
from pound.security import edits, files
from pound.security.credential import Credential
from pound.security.curve import Pair, checked_key, new_pair
from pound.security.keyring import KeyDirectory, Keyring
from pound.security.moments import as_text, now
from pound.security.names import ROLES, SIDES
from pound.security.peer import Peer, checked_name
from pound.security.reach import check_apart, sides_of

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_DIRECTORY = "pound-keys"
COLUMNS = ("name", "roles", "services", "expires", "state")
# What a person who has a credential does with it, by role.
USES = {
    "worker": "pound worker MODULE:FUNCTION --key {}",
    "client": "pound call SERVICE --key {}",
    "operator": "pound status --key {}",
}
RELOAD = "A running broker picks this up within a second."


@click.group(short_help="Make keys, and say who may connect.")
def keys() -> None:
    """Make the broker's keys, and say who may connect and what each may do.

    A directory holds the broker's key pair and the list of its peers (peers.toml, which you may
    edit as well). Start with "pound keys init", then "pound keys add" for each peer, and
    "pound serve --keys DIR".
    """


def directory_option(command: Function) -> Function:
    """Give `command` the option ``--dir``."""
    variable = config_keys()["keys"].environment

    def find(ctx: click.Context, param: click.Parameter, given: str | None) -> KeyDirectory:
        return KeyDirectory(given or os.environ.get(variable) or DEFAULT_DIRECTORY)

    return click.option(
        "--dir",
        "directory",
        metavar="DIR",
        callback=find,
        help=f"The directory of keys.  [default: {variable}, or ./{DEFAULT_DIRECTORY}]",
    )(command)


def reach_options(command: Function) -> Function:
    """Give `command` the options that say where peers reach the broker."""
    for side, who, port in (
        ("backend", "workers", 5556),
        ("frontend", "clients and operators", 5555),
    ):
        command = click.option(
            f"--{side}",
            metavar="URL",
            multiple=True,
            help=f"Where {who} reach the broker, such as tcp://broker.example:{port}. Repeatable.",
        )(command)
    return command


def credential_options(command: Function) -> Function:
    """Give `command` the options of the one who gets a credential."""
    command = click.option(
        "--public",
        metavar="KEY",
        help="Enrol a key that was made elsewhere (pound keys pair): no secret travels.",
    )(command)
    return click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="The credential file.  [default: NAME.key]",
    )(reach_options(command))


@keys.command(short_help="Make the broker's keys.")
@directory_option
@reach_options
def init(directory: KeyDirectory, frontend: tuple[str, ...], backend: tuple[str, ...]) -> None:
    """Make a directory with the broker's key pair, and no peers yet.

    --frontend and --backend are what other machines connect to; new credentials will say so.
    """
    pair = directory.init(frontend, backend)
    path = shlex.quote(str(directory.path))
    click.echo(f"Made {path}: the broker's key pair, and an empty list of peers.")
    click.echo(f"The broker's public key is {pair.public}")
    click.echo("Next, for each program or machine that connects:")
    click.echo(f"    pound keys add NAME --role worker --dir {path}")
    click.echo("and then:")
    click.echo(
        f"    pound serve --keys {path}{_binding('frontend', frontend)}"
        f"{_binding('backend', backend)}"
    )


def _binding(side: str, reached: tuple[str, ...]) -> str:
    """Return the flags that have a broker bind what peers reach it at."""
    bound = dict.fromkeys(map(bindable, reached))
    return "".join(f" --{side} {shlex.quote(endpoint)}" for endpoint in bound)


def bindable(endpoint: str) -> str:
    """Return what a broker binds to be reached at an endpoint: of another host any address."""
    transport, host, port = split_endpoint(endpoint)
    if host == "localhost":
        return f"tcp://127.0.0.1:{port}"
    if transport != "tcp" or is_loopback(host):
        return endpoint
    return f"tcp://{'[::]' if ':' in host else '0.0.0.0'}:{port}"


@keys.command(short_help="Enrol a peer, and write its credential.")
@click.argument("name")
@directory_option
@click.option(
    "--role",
    "roles",
    type=click.Choice(ROLES),
    multiple=True,
    required=True,
    help="What it may be. Repeatable.",
)
@click.option(
    "--service",
    "services",
    metavar="PATTERN",
    multiple=True,
    help="A service that it may use or offer: a name, or a prefix and *. Repeatable.  "
    "[default: all]",
)
@click.option("--expires", type=Moment(future=True), help="When its key ends.  [default: never]")
@credential_options
@click.option(
    "--weight", metavar="N", help="Its share of the turns beside other clients.  [default: 1]"
)
@click.option("--open-max", metavar="N", help="The most requests that it may have open.")
@click.option(
    "--bytes-max", metavar="BYTES", help="The most bytes that its open requests may have."
)
@click.option(
    "--rate", metavar="N/s", help="The most requests that it may send in a time: 100/s, 30/m, 5/h."
)
@click.option(
    "--connections-max", metavar="N", help="The most connections that it may have at once."
)
def add(
    name: str,
    directory: KeyDirectory,
    roles: tuple[str, ...],
    services: tuple[str, ...],
    expires: datetime.datetime | None,
    frontend: tuple[str, ...],
    backend: tuple[str, ...],
    out: Path | None,
    public: str | None,
    **quotas: str | None,
) -> None:
    """Enrol a peer and write its credential: one file, which is all that its machine needs.

    With --public the peer's machine has made the pair (pound keys pair), and what else it needs is
    printed.
    """
    given: dict[str, Any] = {key: value for key, value in quotas.items() if value is not None}
    pair = None if public else new_pair()
    key = pair.public if pair else checked_key("--public", public)
    peer = Peer(
        name=name, key=key, roles=roles, services=services or None, expires=expires, **given
    )
    reach = {"frontend": frontend, "backend": backend}
    if name in directory.keyring().peers:
        raise edits.taken(name)
    _hand_over(directory, peer, pair, reach, out, lambda: directory.add(peer))


@keys.command(short_help="Give a peer a new key.")
@click.argument("name")
@directory_option
@click.option(
    "--until",
    type=Moment(),
    default="7d",
    show_default=True,
    help="Until when the old key still counts, too; now: not any more.",
)
@click.option("--replace", is_flag=True, help="Revoke the next key of a rotation under way.")
@credential_options
def rotate(
    name: str,
    directory: KeyDirectory,
    until: datetime.datetime,
    replace: bool,
    frontend: tuple[str, ...],
    backend: tuple[str, ...],
    out: Path | None,
    public: str | None,
) -> None:
    """Give a peer a new key and write its new credential; until a moment both keys count."""
    pair = None if public else new_pair()
    key = pair.public if pair else checked_key("--public", public)
    reach = {"frontend": frontend, "backend": backend}
    peer = directory.keyring().peer(name)
    _hand_over(
        directory,
        peer,
        pair,
        reach,
        out,
        lambda: directory.rotate(name, key, until, replace=replace),
    )
    if peer.next_key is not None and not peer.rotated(now()):
        click.echo(f"The next key that {name} was given before is revoked: use this one.", err=True)
    ends = f"until {as_text(until)}, then the new one alone" if until > now() else "no more"
    click.echo(f"The old key of {name} counts {ends}.", err=True)


def _hand_over(
    directory: KeyDirectory,
    peer: Peer,
    pair: Pair | None,
    reach: Mapping[str, tuple[str, ...]],
    out: Path | None,
    enrol: Callable[[], Keyring],
) -> None:
    """Enrol a peer's key and give what its machine needs: a credential, or what one lacks.

    The file is written first, so that no key counts that nobody has.
    """
    known = _reached(directory, peer, reach, pair is not None)
    if pair is None:
        if out is not None:
            raise ConfigError(
                "--out: with --public its secret is elsewhere, and no file is written"
            )
        enrol()
        _say_enrolled(peer)
        click.echo("Its credential has name, public and secret; add these lines to it:", err=True)
        click.echo(_lines(peer, known, directory.pair().public), nl=False)
        return
    path = out or Path(f"{peer.name}.key")
    _check_free(path, directory.keyring(), peer.name)
    Credential(
        name=peer.name, roles=peer.roles, broker=directory.pair().public, pair=pair, **known
    ).write(path)
    try:
        enrol()
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    _say_enrolled(peer)
    file = shlex.quote(str(path))
    click.echo(
        f"Wrote {file}, which holds its secret. Copy it to the machine of {peer.name}, mode 600:"
    )
    click.echo(f"    scp -p {file} HOST:")
    click.echo("and use it there:")
    for role in peer.roles:
        click.echo(f"    {USES[role].format(shlex.quote(path.name))}")


def _check_free(path: Path, keyring: Keyring, name: str) -> None:
    """Raise ConfigError if a credential can't be written for the file that is there."""
    if os.path.lexists(path):
        state = "stays enrolled as it was" if name in keyring.peers else "is not enrolled"
        raise ConfigError(
            f"{path} exists already, and is left as it is; {name} {state}: give another file "
            "(--out FILE)"
        )


def _reached(
    directory: KeyDirectory, peer: Peer, given: Mapping[str, tuple[str, ...]], needed: bool
) -> dict[str, tuple[str, ...]]:
    """Return where a peer reaches the broker: as given, else as the directory knows it.

    Raises
    ------
    ConfigError
        Its roles need to know, and nobody does.
    """
    check_apart(given["frontend"], given["backend"])
    keyring = directory.keyring()
    known = {side: given[side] or getattr(keyring, side) for side in SIDES}
    for side in sides_of(peer.roles):
        if needed and not known[side]:
            raise ConfigError(
                f"{peer.name} needs to know where it reaches the broker: --{side} URL, or "
                f'{side} = ["URL"] at the top of {directory.path / "peers.toml"} for all'
            )
    return known


def _lines(peer: Peer, known: Mapping[str, tuple[str, ...]], broker: str) -> str:
    """Return the part of a credential that the one who made the pair does not know."""
    values = {"roles": list(peer.roles), **{side: list(known[side]) for side in SIDES}}
    return "".join(
        f"{key} = {edits.literal(value)}\n" for key, value in {**values, "broker": broker}.items()
    )


def _say_enrolled(peer: Peer) -> None:
    services = "all services"
    if peer.services is not None:
        services = f"services {', '.join(map(repr, peer.services))}"
    until = f", until {as_text(peer.expires)}" if peer.expires else ""
    click.echo(f"{peer.name}: {', '.join(peer.roles)}; {services}{until}. {RELOAD}", err=True)


@keys.command(short_help="Make a key pair whose secret stays here.")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file of the pair.  [default: NAME.key]",
)
def pair(name: str, out: Path | None) -> None:
    """Make a key pair on the machine that will use it; print its public half.

    The file becomes a credential when what "pound keys add NAME --public KEY" prints on the
    broker's machine is added to it.
    """
    checked_name(name)
    made = new_pair()
    path = out or Path(f"{name}.key")
    values = {"name": name, "public": made.public, "secret": made.secret}
    text = "".join(f"{key} = {edits.literal(value)}\n" for key, value in values.items())
    files.create(path, text, 0o600)
    file = shlex.quote(str(path))
    click.echo(f"Wrote {file}. Enrol its public key on the broker's machine:", err=True)
    click.echo(f"    pound keys add {name} --role worker --public '{made.public}'", err=True)
    click.echo(f"and add what that prints to {file}.", err=True)
    click.echo(made.public)


@keys.command("list", short_help="List the peers.")
@directory_option
@wide_option
@json_option
def list_(directory: KeyDirectory, wide: bool, as_json: bool) -> None:
    """Print each peer with its roles, its services, and whether its key counts."""
    keyring = directory.keyring()
    rows = [_row(peer) for peer in keyring.peers.values()]
    gone = [name for name in dict.fromkeys(keyring.revoked.values()) if name not in keyring.peers]
    rows += [{"name": name, "state": "revoked"} for name in gone]
    if as_json:
        click.echo(json.dumps({"peers": rows}, indent=2))
    else:
        width = None if wide else shutil.get_terminal_size((80, 24)).columns
        click.echo(table(COLUMNS, rows, {"name", "services"}, width))


@keys.command(short_help="Show a peer, or the broker.")
@click.argument("name", required=False)
@directory_option
@json_option
def show(name: str | None, directory: KeyDirectory, as_json: bool) -> None:
    """Print all about a peer; without a name: the broker's public key and where it is reached."""
    keyring = directory.keyring()
    facts: dict[str, Any]
    if name is None:
        facts = {"broker": directory.pair().public, "peers": len(keyring.peers)}
        facts.update({side: list(getattr(keyring, side)) for side in SIDES})
    else:
        peer = keyring.peer(name)
        facts = {**_row(peer), **{key: _plain(value) for key, value in peer.table().items()}}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        click.echo(f"{key:<{width}}  {text or '-'}")


@keys.command(short_help="Lock a peer out.")
@click.argument("name")
@directory_option
def revoke(name: str, directory: KeyDirectory) -> None:
    """Remove a peer: its keys never count again, and its connections are closed."""
    directory.revoke(name)
    click.echo(f"Revoked {name}. {RELOAD}")


@keys.command(short_help="Set when a peer's key ends.")
@click.argument("name")
@click.argument("when", type=Moment(never=True))
@directory_option
def expire(name: str, when: datetime.datetime | None, directory: KeyDirectory) -> None:
    """Set when a peer's key ends: a date, a date and time, a span such as 90d, or never."""
    directory.expire(name, when)
    ends = f"ends {as_text(when)}" if when else "never ends"
    click.echo(f"The key of {name} {ends}. {RELOAD}")


def _row(peer: Peer) -> dict[str, Any]:
    return {
        "name": peer.name,
        "roles": list(peer.roles),
        "services": ["*"] if peer.services is None else list(peer.services),
        "expires": as_text(peer.expires) if peer.expires else "never",
        "state": _state(peer),
    }


def _state(peer: Peer) -> str:
    if peer.expires is not None and peer.expires <= now():
        return "expired"
    if peer.next_until is None or peer.rotated(now()):
        return "active"
    return f"rotating until {as_text(peer.next_until)}"


def _plain(value: object) -> object:
    return as_text(value) if isinstance(value, datetime.datetime) else value
