"""The broker around the dispatcher: peers, messages in and out, its own services.

Runs without the GIL on the thread that calls `run` of `pound._core`. May import `_base`, `_wire`,
`_zmq`, `_dispatch` and `security`; its Python modules `pound.errors` and `pound._logging`.

actions            the dispatcher's actions carried out
admission          the one door for clients, workers and requests of every dialect
adoption           requests that were sent to another broker, and the tasks that workers kept
answers            answers and partials of workers, handed to the dispatcher
arrivals           connections that were let in by a key, and say nothing
binding            binding an endpoint: names, IPv6, paths, and what to do when it fails
budget             one budget of bytes for all that is held; free memory given back
control            small PND records on their way to a peer
credits            how far the partials of a task may go: clients' CREDIT on its way to workers
delivery           answers on their way to a client's queue, and those that find no room there
denials            messages that are refused whole, and connections that end with their keys
departures         peers that go, and some that come back
descriptors        what happens when few descriptors are left for connections
door               how listeners are secured; the socket that libzmq asks
drain              the end of a broker: what it waits for, its last words, what is left
events             the loop's events as log lines
failures           why a request failed, in words
flush              the end of a turn: what waits for each touched peer is sent
guard              who is let in: ZAP, and the table of keys
guide              what the Guide's peers say, in calls of the dispatcher
heartbeats         heartbeats that workers are owed
housekeeping       what is looked after once a second
inbound            one message at a time: its route, its dialect; the monitor's events
internal_services  the broker's own services: `pound.*` and MMI
ip                 IP addresses as bytes and as text
key_watch          the peers' file, read again when it changes
kinds              what the loop counts and logs, each kind declared once
lifetime           making and freeing the broker's data
log_events         events put for the log: what each is about
log_queue          events for the log: their rate, and the queue to the logging thread
loop               one turn after another: wait, read, timers, flush, publish
names              Python's names of these, derived
outgoing           one message on its way out, however many frames it has
overdue            tasks that a worker has held for long
peers              who is connected: peers, routes, connections
pnd                what PND peers say, in calls of the dispatcher
queues             what waits to be sent to a peer, and when it is sent
quotas             the turns and quotas of the broker's keys
reasons            why something is refused, in words
records            records that are kept: bodies, and what was attached to them
releases           tasks that their workers give back
revocation         rights that end while their peers are there
rights             what a connection proved, and what its peer may do
self_test          the broker tests itself before it serves
services           the services' names
state              the data: structs only
sweep              routes without a connection that can be watched: inproc, ZMTP 1.0 and 2.0
takeover           when a standby serves (decisions only)
unread             answers that nobody reads, given up before anybody is refused
violations         malformed messages, counted against their routes
young              connections that have not said who they are
"""
