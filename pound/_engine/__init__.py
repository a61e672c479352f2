"""The layer below clients and workers: the link to the broker, their rules, their handles.

One thread without the GIL owns the socket of a client or worker. May import `_base`, `_wire` and
`_zmq`; its Python modules `pound.errors`, `pound._logging` and `pound.security.credential`.

adoption        what a worker keeps of a broker that is gone, for the next one
cancels         the ids of cancelled requests, until the broker has answered them
checks          checks of arguments that clients and workers share
client          a client's handle: bodies in, answers out
client_options  the constructor of both clients: names, types, defaults and checks
client_rules    a client's rules: a request from its submission to its one answer
client_state    the state of a client's rules, and its commands
curve           the key of a client or worker, in C; why a broker does not accept it, in words
endpoints       which endpoint, and which address of its name, is in use
engine          the thread: a turn, sleeping and waking, commands
handle          what both handles share: threads, the context, log lines
handlers        what a worker offers: names of services, and how each handler is called
handoff         what a worker's engine and its handlers hand to each other
keys            the keys of a client's requests
link            which broker to talk to: handshake, silence, change of endpoint (decisions only)
mailbox         bodies between Python and C; what the engine hands to Python
map             `Client.map`
outbox          packets on their way out
pace            how much of a service a client sends to a broker that refused some
partials        for how long a handler waits before its next partial
progress        a bar on a terminal
reach           why an endpoint is not reached
requests        a client's requests, and the place of each
socket          the DEALER socket of a link
streams         how far the workers of a client's streams may go
task            a task with its answers, and the queues of both
values          answers, partials and META as Python values
waits           what a client's requests wait for, in words
watch           a client that asks nothing: whether a broker is there
worker          a worker's handle, `Task`, the loop of a handler's thread
worker_options  the constructor of both workers: names, types, defaults and checks
worker_rules    a worker's rules: its tasks from TASK to the answer
worker_state    the state of a worker's rules: its tasks, and where each is
"""
