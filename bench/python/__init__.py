"""Pound's Python client and worker beside those of other task libraries. See README.md."""
