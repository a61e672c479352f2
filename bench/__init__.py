"""Speed, measured: the load generator, its baselines, and what runs them. See README.md."""
