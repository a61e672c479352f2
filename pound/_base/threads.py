"""Whether threads are the operating system's, as Pound's own have to be.

gevent and eventlet can put coroutines of theirs in the place of threads. One of Pound's would then
never give way to the others, and the whole program would stand still.
"""

from __future__ import annotations

import _thread
import threading

from pound.errors import PatchedError

REMEDIES = {
    "gevent": "gevent.monkey.patch_all(thread=False)",
    "eventlet": "eventlet.monkey_patch(thread=False)",
}
MADE_BY = ("start_new_thread", "start_joinable_thread", "allocate_lock", "RLock")


def check_threads(what: str) -> None:
    """Refuse to make a client, worker or broker whose threads would be none.

    Parameters
    ----------
    what : str
        What is about to be made.

    Raises
    ------
    PatchedError
        gevent or eventlet has replaced the program's threads.
    """
    for library, remedy in REMEDIES.items():
        replaced = _replaced_by(library)
        if replaced:
            raise PatchedError(
                f"{library} has replaced threads in this program ({', '.join(replaced)}), and a"
                f" {what} needs real ones: call {remedy} instead, or make the {what} in a"
                " process of its own"
            )


def _replaced_by(library: str) -> list[str]:
    places = [(_thread, "_thread", name) for name in MADE_BY]
    places += [(threading, "threading", "Thread"), (threading, "threading", "_start_new_thread")]
    return [
        f"{module_name}.{name}"
        for module, module_name, name in places
        if _home_of(getattr(module, name, None)) == library
    ]


def _home_of(made: object) -> str:
    return str(getattr(made, "__module__", "")).partition(".")[0]
