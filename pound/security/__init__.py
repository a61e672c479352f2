"""Keys: who may connect, and what a peer may do.

May import `_base`; its Python also `pound._config_keys`, `pound.config`, `pound.errors` and
`pound._logging`.

files  files that hold keys: checked when opened, replaced as a whole
"""
