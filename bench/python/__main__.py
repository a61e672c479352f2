"""``python -m bench.python``."""

from bench.python.run import main

if __name__ == "__main__":
    main()
