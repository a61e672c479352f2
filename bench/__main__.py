"""``python -m bench``."""

from bench.runner.run import main

if __name__ == "__main__":
    main()
