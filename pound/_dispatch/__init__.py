"""The dispatcher: which worker gets a request, and how the request ends.

Decisions only: no socket, no clock and no Python object, so that the simulation runs the same code
as the broker. May import `_base`, and of `_wire` the error codes.

admission   which requests are accepted; what is known of a repeated one
audit       a recount of every invariant, after each call when built with `POUND_DEBUG=1`
changes     the small changes of state of which the rules are made
claims      tasks of another epoch, which requests of this one adopt
dispatcher  services, queues, credit, tasks, expiry, retry: calls in, actions out
endings     how tasks end without an answer: undone, released, lost
finish      the end of each call
flows       whose fresh request is next: the turns of owners
limits      the limits and their default numbers, each with its reason
matching    who gets the next task; priorities, isolation, reservations
memory      the first allocation of all memory, and its end
model       the data: services, workers, clients, requests, tasks, actions
owners      in whose name clients ask
shares      what one client, or services without workers, may take of what all share
timers      the seven timers
"""
