"""Keys: who may connect, and what a peer may do.

May import `_base`; its Python also `pound._config_keys`, `pound.errors` and
`pound._logging`.

credential  the one file of a peer
curve       CURVE keys as text
edits       changes of the peers' file that leave its comments
files       files that hold keys: checked when opened, replaced as a whole
keyring     the broker's pair and the peers that it knows
keytable    a table in the hands of Python, until a broker takes it
listener    one endpoint of the broker, and who may use it
moments     moments as people read them
names       the words of roles, dialects and securities
narrowed    what a file takes away whose rest can't be used
peer        one enrolled peer: its keys, what it may do and how much
reach       where a peer reaches the broker
table       keys, identities and the services that they may use
tables      tables that are made of what the peers' file says, with numbers that stay
zap         a ZAP request in, a verdict and its reply out; the proof that a message carries
"""
