"""The layer below clients and workers: the link to the broker, their rules, their handles.

One thread without the GIL owns the socket of a client or worker. May import `_base`, `_wire` and
`_zmq`; its Python modules `pound.errors`, `pound.config` and `pound._logging`.

cancels       the ids of cancelled requests, until the broker has heard of them
checks        checks of arguments that clients and workers share
client        a client's handle: bodies in, answers out
client_rules  a client's rules: its requests from submission to the one answer
endpoints     which endpoint, and which address of its name, is tried now
engine        the thread: a turn, sleeping and waking, commands, log lines
handlers      what a worker offers: names of services, and how each handler is called
link          one DEALER towards one endpoint of the list; what is known of the broker behind it
mailbox       bodies between Python and C; what the engine hands to Python
map           `Client.map`
pace          a client's rules: how much of a service it sends to a broker that refused some
partials      a worker's rules: for how long a handler waits before its next partial
progress      a bar on a terminal
reach         why an endpoint is not reached
streams       a client's rules: how far the workers of its streams may go
task          a task with its answers, and the queues of both
values        answers, partials and META as Python values
worker        a worker's handle, `Task`, the loop of a handler's thread
worker_rules  a worker's rules: its tasks from TASK to the answer
"""
