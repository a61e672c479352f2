"""The command ``pound``: one module for each group of commands.

Exit codes: 0 done; 1 failed while running; 2 wrong usage or configuration; 3 the broker could not
bind, or did not answer within 3 s; 5 the broker does not let this peer in. ``pound call`` adds 10
(the task failed), 11 (no such service), 12 (deadline exceeded). Results go to stdout, everything
else to stderr.
"""

from __future__ import annotations

import click

from pound._version import __version__
from pound.cli import call, config, demo, inspect, keys, serve, worker
from pound.cli.common import ErrorsAsExitCodes


@click.group(cls=ErrorsAsExitCodes, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="pound %(version)s")
def main() -> None:
    """Distribute requests from clients to workers over ZeroMQ."""


for command in (
    serve.serve,
    worker.worker,
    call.call,
    inspect.status,
    inspect.services,
    inspect.workers,
    config.config,
    keys.keys,
    demo.demo,
):
    main.add_command(command)
