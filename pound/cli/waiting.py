"""What ``pound call`` says on stderr while no answer comes: what it waits for, and what there is.

A timer's thread asks the broker, by the client that waits: for its services if the client is an
operator, else whether a worker offers the one, which any client may. Whatever fails there is passed
over: it is the request that matters, and its own error says why it failed.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pound
from pound.cli.common import WELCOME_S, complain, operates
from pound.cli.inspect import Row, all_rows

if TYPE_CHECKING:
    from pound.security.credential import Credential

SILENT_S = 1.0  # after this a person wonders
NAMES_MAX = 10
OFFERED = b"200"  # as MMI says it


class Explanation:
    """Says once, `SILENT_S` after `begin`, what requests wait for, unless it was ended before.

    Parameters
    ----------
    client : pound.Client
        The one that waits.
    service : str
        Of the requests.
    key : Credential, optional
        The client's.
    bar : bool
        Whether there is one on stderr, which goes on below the words.
    """

    def __init__(
        self, client: pound.Client, service: str, key: Credential | None, bar: bool = False
    ) -> None:
        self._client = client
        self._service = service
        self._key = key
        self._bar = bar
        self._ended = threading.Event()
        self._timer = threading.Timer(SILENT_S, self._explain)
        self._timer.daemon = True

    def begin(self) -> None:
        """Count from now, if it does not count already: a request is on its way."""
        if self._timer.ident is None:
            self._timer.start()

    def end(self) -> None:
        """Say nothing any more: there is an answer, or nobody waits."""
        self._ended.set()
        self._timer.cancel()

    def _explain(self) -> None:
        said = self._client._engine.refusal  # of the request: ours below may be refused, too
        words = [f"the broker did not take it at first, and is asked again: {said}"] if said else []
        with suppress(pound.PoundError, ValueError, LookupError):
            words.append(self._what_for())
        if words and not self._ended.is_set():
            complain(f"waiting: {'; '.join(words)}", over_bar=self._bar)

    def _what_for(self) -> str:
        if operates(self._key):
            return what_for(self._service, all_rows(self._client, "services"))
        name = self._service.encode()
        answer = self._client.request("mmi.service", name, timeout=WELCOME_S)
        if answer == OFFERED:
            return f"a worker offers {_shown(self._service)}: it is at work, or others come first"
        return f"no worker offers {_shown(self._service)}"


@contextmanager
def explained(
    client: pound.Client, service: str, key: Credential | None, bar: bool = False
) -> Iterator[Explanation]:
    """Yield an explanation that ends with the block."""
    explanation = Explanation(client, service, key, bar)
    try:
        yield explanation
    finally:
        explanation.end()


def what_for(service: str, rows: Sequence[Row]) -> str:
    """Return what a request for `service` waits for, by the rows of ``pound.services``."""
    row = next((row for row in rows if row["name"] == service), {})
    if row.get("workers"):
        workers = "1 worker offers" if row["workers"] == 1 else f"{row['workers']} workers offer"
        return (
            f"{workers} {_shown(service)}; it has {row['running']} running and"
            f" {row['waiting']} waiting requests"
        )
    return f"no worker offers {_shown(service)}{alternatives(service, rows)}"


def alternatives(service: str, rows: Sequence[Row]) -> str:
    """Return the services that workers offer, as the end of a sentence, the likeliest first."""
    offered = sorted(row["name"] for row in rows if row["workers"])
    if not offered:
        return ", and no other service"
    near = difflib.get_close_matches(service, offered, 1)
    guess = f"; did you mean {_shown(near[0])}?" if near else "."
    more = f" and {len(offered) - NAMES_MAX} more" if len(offered) > NAMES_MAX else ""
    return f"{guess} Services: {', '.join(map(_shown, offered[:NAMES_MAX]))}{more}"


def _shown(name: Any) -> str:
    return repr(name) if name else "the default service"
