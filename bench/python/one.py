"""``python -m bench.python.one NAME``: measures one contestant; prints its figures as JSON.

With ``--one-core`` it and all that it starts share one core, and only `request` is measured: what a
round trip costs without waking other cores. With ``--work URL`` it is the worker process instead.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys

from bench.python.contestants import CONTESTANTS, ONE_CORE


def main() -> None:
    """Measure, or work."""
    parser = argparse.ArgumentParser(prog="python -m bench.python.one", description=__doc__)
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each task; default: 1")
    parser.add_argument("--one-core", action="store_true")
    parser.add_argument("--work", metavar="URL")
    options = parser.parse_args()
    contestant = CONTESTANTS[options.name]
    module = importlib.import_module(f"bench.python.{contestant.module}")
    if options.work:
        module.work(options.work)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.one_core:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    with module.running() as measures:
        if options.one_core:
            found = {ONE_CORE: measures["request"](options.seconds)}
        else:
            found = {task: measures[task](options.seconds) for task in contestant.tasks}
        print(json.dumps(found), flush=True)
    # Some of these libraries keep threads that outlive their client.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
