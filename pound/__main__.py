"""``python -m pound``, and the script ``pound``: the command line, with its imports guarded."""

import sys


def run() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it without a word, too."""
    try:
        from pound.cli import main
    except KeyboardInterrupt:
        sys.exit(130)
    main()


if __name__ == "__main__":
    run()
