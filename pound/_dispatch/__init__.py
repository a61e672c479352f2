"""The dispatcher: which request goes to which worker, and what becomes of it.

Decisions only: no socket, no clock and no Python object comes in here, so that the simulation can
run the very code that serves. May import `_base`.

admission   which requests come in; what is known of one that came before
audit       a recount of every invariant, after each call when built with `POUND_DEBUG=1`
changes     the small changes of state of which the rules are made
dispatcher  services, queues, credit, tasks, expiry, retry: calls in, actions out
endings     how tasks end without an answer: undone, released, lost
limits      the limits and their default numbers, each with its reason
matching    who gets the next task; priorities, isolation, reservations
memory      the memory of the whole: its first room, its end
model       the data: services, workers, clients, requests, tasks, actions
shares      what one client, or services without workers, may take of what all share
timers      the seven timers
"""
