# What the loop counts and logs. Each kind is declared here, once.
#
# Pages and `Broker.stats()` use the counters' names in lower case without the prefix (names.py);
# events.py has a log line for each event.
# Tests compare the documentation with them.


cpdef enum:                  # what the loop itself counts; the dispatcher has its own
    C_MESSAGES_IN
    C_MESSAGES_OUT
    C_RECORDS_IN
    C_BYTES_IN
    C_BYTES_OUT
    C_BAD_MESSAGES           # dropped whole: broken framing or form, of any dialect
    C_BAD_PND                # of them, as far as the dialect was recognised
    C_BAD_PLAIN
    C_BAD_PPP
    C_BAD_MDP1
    C_BAD_MDP2
    C_BAD_RECORDS            # sound records with a wrong value
    C_UNKNOWN_RECORDS        # records of a kind that does not exist, skipped
    C_UNKNOWN_VERSIONS       # packets of another version
    C_IGNORED_MESSAGES       # dropped unread, since their route is ignored
    C_IGNORED_ROUTES
    C_RESERVED_SERVICES      # READYs and requests that named a service of the broker's own
    C_ONE_PART_REFUSED
    C_REFUSED_FOREIGN        # by a limit; their dialect has no ERROR
    C_FAILED_FOREIGN         # errors that the client's dialect has no answer for
    C_REFUSED_DRAINING
    C_STALE_REQUESTS         # sent again by a client that had said it was done with them
    C_ANSWERS_UNKNOWN        # from sessions that are no workers (any more)
    C_PARTIALS
    C_PARTIALS_DROPPED       # for clients whose dialect has none
    C_CREDITS_LATE           # CREDITs of attempts that were over, or never were
    C_UNDELIVERABLE          # answers dropped: their client did not read, or was gone
    C_ANSWERS_DEFERRED       # answers that might wait, so that more leave together
    C_SENDS_BLOCKED          # sends refused because the peer's pipe was full
    C_SENDS_UNREACHABLE      # sends refused because the peer's connection was closed
    C_CLOSED_CONNECTIONS
    C_UNROUTED_CONNECTIONS   # of them, those that never sent a message by a route of their own
    C_DISCONNECTS            # MDP DISCONNECTs sent
    C_PAUSES                 # own pauses longer than a heartbeat, for which there was amnesty
    C_LOGS_DROPPED
    C_CONTROL_DROPPED        # small records for a peer that does not read
    C_SESSIONS_REFUSED       # requests and READYs of clients and workers above sessions_max
    C_TASKS_HELD_LONG        # tasks that a worker has held for long, as far as logged
    C_UNREAD_CLIENTS         # times that a client lost all that it had not read
    C_DENIED                 # with keys: messages, requests and READYs that their key may not send
    C_NO_MEMORY
    C_TURNS
    C_PEERS                  # how many there are now; so the three below
    C_ROUTES
    C_QUEUED                 # items in the queues of clients
    C_STORED_RECORDS                 # stored records
    C_TURNED_AWAY            # connections that were closed since descriptors were few
    C_CONNECTIONS_REFUSED    # by the guard: their key, or that they have none
    C_HANDSHAKES             # connections that have not said who they are, now
    C_HANDSHAKES_CUT         # of them, those that were cut because there were too many
    C_UNDELIVERED_BYTES      # in the queues of clients
    C_PIPE_BYTES             # in libzmq's pipes, as far as they are counted
    C_CONTROL_BYTES          # of small records that wait for their peers
    C_HELD_BYTES             # of all that the budget is for: budget.pxd
    C_COUNT

cpdef enum:                  # what the loop logs
    LOG_HELD_BACK = 0        # lines of a kind were held back
    LOG_WORKER_READY
    LOG_WORKER_GONE
    LOG_WORKER_LEFT          # after its BYE
    LOG_WORKER_SILENT
    LOG_WORKER_LEAVES
    LOG_BAD_MESSAGE
    LOG_ROUTE_IGNORED
    LOG_REQUEST_FAILED
    LOG_REQUEST_UNANSWERABLE
    LOG_SERVICE_WAITING
    LOG_PAUSE
    LOG_DRAINING
    LOG_DRAINED
    LOG_WORKER_REFUSED
    LOG_SILENT_CONNECTION
    LOG_REQUESTS_REFUSED
    LOG_TASKS_RELEASED
    LOG_UNFINISHED           # LOG_DRAINED, with work left
    LOG_DESCRIPTORS_SHORT
    LOG_TASK_HELD
    LOG_CLIENT_UNREAD
    LOG_DENIED
    LOG_RIGHTS_LOST
    LOG_CONNECTION_REFUSED
    LOG_HANDSHAKES_CUT
