"""The runner of ``python -m bench``: contestants, measurements, verdicts, tables, plots."""
