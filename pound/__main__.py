"""``python -m pound`` is the command ``pound``."""

from pound.cli import main

if __name__ == "__main__":
    main()
