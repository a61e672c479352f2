"""Pound's tests, one folder per kind; see HACKING."""
