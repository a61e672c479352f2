"""Python ends, measured: Pound's against those of other task libraries. See README.md."""
