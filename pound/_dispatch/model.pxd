# The dispatcher's data: services, workers with their offers, clients, requests, tasks, actions.
#
# Each entity is a number (uint32; NONE is none) in an array with a pool. The arrays move when they
# grow: keep numbers, not pointers. All memory belongs to the dispatcher. Other rooms read these
# fields; only this room writes them. Times are int64 ns: `now` on monotonic time, `live` on the
# liveness clock.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from pound._base.heap cimport heap_t
from pound._base.index cimport index_t
from pound._base.links cimport link_t, queue_t
from pound._base.lru cimport lru_t, lru_entry_t
from pound._base.pool cimport pool_t
from pound._base.table cimport table_t
from .limits cimport limits_t

cdef enum:
    PRIORITIES = 10          # 0 normal .. 9
    SENT_SHIFT = 20          # about a millisecond


cdef enum action_kind:
    ACT_TASK = 1             # send request `slot` to worker `peer` under `token`; code: attempt
    ACT_CANCEL = 2           # notify worker `peer` that `token` is cancelled
    # ACT_FAIL: request `slot` ended without a worker's answer; code: PND's error; peer: the worker
    # that held it when its deadline passed, or NONE
    ACT_FAIL = 3
    ACT_FREE = 4             # request `slot` is forgotten: release what is stored under it
    ACT_WORKER_GONE = 5      # worker `peer` was silent beyond its liveness
    ACT_WORKER_FREE = 6      # number `peer` may be reused
    ACT_CLIENT_FREE = 7      # likewise
    ACT_SERVICE_FREE = 8     # likewise: `peer` is a service


cdef struct action_t:        # fields that a kind does not use: slot, peer NONE; token, code 0
    uint64_t token
    uint32_t slot
    uint32_t peer
    uint8_t kind
    uint8_t code


cdef enum request_result:
    REQ_ACCEPTED = 0         # new; `slot` is its number
    REQ_HELD                 # waiting or running under `slot`
    REQ_ANSWERED             # ended, not delivered yet: `slot` is about to be delivered
    REQ_KEPT                 # ended and delivered before: `slot` is to be delivered again
    REQ_STALE                # forgotten: the client was done with it
    REQ_BUSY                 # too much waits in all
    REQ_BUSY_SERVICE         # too much waits for the service
    REQ_BUSY_SESSION         # the client has too many open requests
    REQ_NO_SERVICE           # no worker offers the service
    REQ_NO_MEMORY
    REQ_BUSY_BYTES           # open requests have too many bytes in all
    REQ_BUSY_MEMORY          # the broker holds nearly as much as it may
    REQ_BUSY_UNREAD          # the client leaves too much unread: the caller's decision
    REQ_BUSY_SHARE           # the client has open more than its share of what is left
    REQ_BUSY_WORKERLESS      # too much waits for services that no worker offers
    REQ_BUSY_WINDOW          # too much of the client's own window waits for such services
    REQ_BUSY_CLIENTS         # there are as many clients as may be
    REQ_MANY_SERVICES        # workers offer as many services as may be
    REQ_MANY_NAMES           # as many names as may be are asked for that no worker offers
    REQ_MANY_OWN_NAMES       # the client asks for too many of these
    REQ_QUOTA_OPEN           # its owner has as many requests open as it may
    REQ_QUOTA_BYTES          # its owner has as many bytes open as it may
    REQ_QUOTA_RATE           # its owner asks more often than it may
    REQ_SERVICE_QUOTA_OPEN   # likewise, of what an owner may have and ask in this service
    REQ_SERVICE_QUOTA_BYTES
    REQ_SERVICE_QUOTA_RATE
    REQ_END                  # one past the last


cdef enum opened_how:        # a service
    OPENED_NAMED = 0         # a request asks for it
    OPENED_PINNED            # by the configuration: it stays
    OPENED_OFFERED           # a worker is about to offer it
    OPENED_INTERNAL          # the broker itself answers


cdef enum answer_result:
    ANS_COUNTED = 0          # the request ended with this answer
    ANS_DROPPED              # the request had ended before; the worker's credit is back
    ANS_DEAD                 # no such task, or another worker's
    ANS_RELEASED             # the worker gave the task back, uncounted


cdef enum ready_how:
    READY_SAME_ROUTE = 0     # its tasks stay as they are
    READY_NEW_ROUTE          # it lists the tokens of the tasks that it holds
    READY_NEW_LIFE           # it holds nothing: its tasks are lost


cdef enum liveness_mode:
    LIVENESS_NEVER = 0
    LIVENESS_IDLE            # silent while it computes: only idle ones expire
    LIVENESS_ALWAYS


cdef enum request_state:
    REQUEST_FREE = 0
    REQUEST_WAITING
    REQUEST_RUNNING
    REQUEST_ANSWERED         # ended, whatever the reason; not delivered to the socket yet
    REQUEST_KEPT             # delivered; kept for a client that asks again


cdef enum queued_where:      # a WAITING request
    QUEUED_NOWHERE = 0
    QUEUED_FRESH
    QUEUED_RETURNED
    QUEUED_ISOLATED
    QUEUED_DELAYED           # given back: no worker gets it before its delay is over
    QUEUED_HELD              # held back: likewise; then it is fresh


cdef enum task_state:
    TASK_FREE = 0
    TASK_UNSENT
    TASK_SENT
    TASK_CLAIMED             # its worker was sent it in another epoch: a claim; see claims.pxd


cdef enum task_mark:
    MARK_LISTED = 1          # in the READY that is being read
    MARK_CLAIMED = 2         # it began as a claim
    MARK_ANSWERED = 4        # such a one that is answered: it holds no credit


cdef enum claim_result:      # what a token is to a worker that says it holds it
    CLAIM_NONE = 0           # no task: the worker may claim it
    CLAIM_OPEN               # a claim of the worker
    CLAIM_ADOPTED            # a sent task of the worker, of a request
    CLAIM_OTHER              # it may not be claimed: see claims.pxd


cdef struct claim_t:
    uint64_t token
    uint8_t running          # 0: answered; its worker keeps the answer


cdef enum listed_where:      # an offer, and with it all offers of its worker
    LISTED_NOWHERE = 0       # the worker is not eligible
    LISTED_IDLE
    LISTED_BUSY


# A request's `queue` is its neighbours in its flow or in the list of kept ones; else queue.prev is
# its place in a heap: of returned, isolated or delayed ones while WAITING, of leases while RUNNING.
# Of a fresh one, which has no task yet, `task` is its flow.
cdef struct request_t:       # 64 bytes: a cache line
    uint64_t id              # the client's number for it
    uint64_t seq             # its order of acceptance among all requests
    int64_t since            # WAITING: monotonic ns, when it was accepted, returned or delayed last
    link_t queue             # neighbours, or a place; see above
    link_t sibling           # in its client's requests
    uint32_t client
    uint32_t service
    uint32_t task            # RUNNING: its task. WAITING: the returned one, or NONE; see above
    uint32_t bytes           # of the request; of its answer once it has ended
    uint32_t deadline_at     # place in the heap of deadlines, which has its time; NONE: none
    uint8_t attempts         # TASKs sent and not taken back
    uint8_t priority
    uint8_t state            # request_state
    uint8_t queued           # queued_where


cdef struct flow_t:          # 32 bytes: an owner's fresh requests of one priority in a service
    queue_t requests         # oldest first; never empty between calls
    link_t ring              # its neighbours in the ring of its service and priority
    uint32_t service
    uint32_t owner
    uint32_t served          # tasks that it was given in its present turn
    uint8_t priority
    uint8_t used


cdef struct task_t:          # 32 bytes
    uint64_t token
    link_t sibling           # in its worker's tasks
    uint32_t worker
    uint32_t request         # NONE: an orphan, which only holds credit, or a claim
    uint8_t state            # task_state
    uint8_t holds            # it holds a credit of its worker
    uint8_t isolates         # nothing may join it
    uint8_t marks            # of task_mark
    uint32_t sent_at         # SENT, CLAIMED: since when; monotonic ns >> SENT_SHIFT


cdef struct offer_t:         # 32 bytes
    uint32_t service
    uint32_t worker
    uint32_t index           # in its worker's offers
    lru_entry_t entry        # in the service's idle or busy LRU, while its worker is listed


cdef struct worker_t:
    int64_t last_heard       # liveness ns
    int64_t liveness_ns
    uint64_t sent_seq        # rises with each task it is sent: the LRU's key
    uint32_t *offers         # numbers of its offers, in READY's order; owned
    uint32_t n_offers
    uint32_t next_offer      # where serving it goes on
    uint32_t capacity
    uint32_t held            # tasks that hold its credit
    uint32_t reserved_for    # service, or NONE
    uint32_t liveness_at     # place in the heap of liveness timers
    uint32_t blocked_at      # place in the heap of ends of blocking; NONE: not blocked
    uint32_t unserved_at     # place in the heap of workers to be served before the call ends
    queue_t tasks            # all its tasks, oldest made first
    uint8_t mode             # liveness_mode
    uint8_t notified         # of cancelled tasks, by ACT_CANCEL
    uint8_t listed           # listed_where
    uint8_t isolating        # it holds a task that nothing may join
    uint8_t leaving
    uint8_t gone
    uint8_t pinned           # its tasks are being taken from it: not to be freed meanwhile
    uint8_t used             # 0: the number is free


cdef struct quota_t:         # of an owner, in all or in one service; 0: no limit
    uint64_t bytes_max       # of its open requests, waiting or running
    int64_t interval_ns      # between two of its requests, in the mean
    int64_t burst_ns         # by how much a request may come earlier than that
    uint32_t open_max        # open requests, and tasks that go on without theirs


cdef struct account_t:       # what counts for a quota
    uint64_t bytes
    int64_t next_at          # monotonic ns: when a request at the mean rate would come
    uint32_t open
    uint32_t orphans         # sent tasks of requests that have ended


cdef struct charge_t:        # whose account an orphan counts in
    uint64_t stamp           # of the client that asked
    uint32_t owner
    uint32_t service
    uint8_t used


cdef struct owner_limits_t:
    quota_t quota
    uint32_t weight          # tasks that it is given in its turn; 0 counts as 1


cdef struct owner_t:         # by the number of its identity
    owner_limits_t limits
    account_t account


cdef struct stake_t:         # of an owner in a service that has a quota
    account_t account
    uint32_t service
    uint32_t owner
    uint32_t next            # the next one of its client, if that is an owner by itself; or NONE
    uint8_t used


cdef struct client_t:
    uint64_t highest         # id accepted
    uint64_t done            # it is done with all ids below
    index_t ids              # id → request; empty for a Guide client
    queue_t requests         # all its requests, oldest first
    uint32_t count           # of them
    uint32_t open            # of them, WAITING or RUNNING
    uint32_t window          # most that may be open
    uint64_t open_bytes
    uint64_t stamp           # no other client ever has it
    uint32_t named           # services without workers that it asked for first
    uint32_t grace_at        # place in the heap of graces
    uint32_t owner           # who takes turns for it: an identity, or itself; owners.pxd
    uint32_t flow            # the one that a request of it entered last, if it is still that one
    uint32_t stakes          # the first one of its own, or NONE
    uint8_t is_guide         # of a Guide dialect: its requests have no ids
    uint8_t reserve          # it came in for the broker's own services only
    uint8_t used


cdef struct service_t:
    int64_t lease_ns         # 0: none
    int64_t workerless_since  # monotonic ns, of requests; means something while workers == 0
    uint64_t waiting         # requests
    uint64_t waiting_bytes
    uint64_t delayed         # of those waiting
    uint64_t running         # requests
    uint64_t dispatches      # of requests that are not isolated
    uint64_t refs            # requests of any state, and offers
    uint64_t mark            # stamp of the READY that named it last
    uint64_t namer_stamp
    quota_t quota            # of each owner
    uint32_t namer           # the client that asked for it first, if its stamp is the same; or NONE
    lru_t idle               # offers of eligible workers that hold nothing, by sent_seq
    lru_t busy               # offers of eligible workers that hold something
    heap_t isolated          # requests that only an idle worker may get, by (9 - priority, seq)
    heap_t returned[PRIORITIES]  # requests that come before the fresh ones, by seq
    uint32_t turns[PRIORITIES]  # the flow whose turn it is, or NONE: no fresh request waits
    uint32_t workers         # live ones that offer it
    uint32_t reserved        # worker that is running empty for an isolated request, or NONE
    uint32_t wait_at         # place in the heap of service waits
    uint32_t unmatched_at    # place in the heap of services to be matched before the call ends
    uint16_t filled          # bit p: priority p has fresh or returned requests
    uint8_t turn             # the lower priority that was served last out of its turn
    uint8_t pinned
    uint8_t internal         # answered by the broker itself
    uint8_t has_quota
    uint8_t used


cdef struct counters_t:      # uint64 only: _core publishes it as an array, in this order
    # accepted = waiting + running + answered + failed + cancelled + expired, at any moment
    uint64_t accepted, waiting, running, answered, failed, cancelled, expired
    uint64_t refused         # requests over a limit, or for an unknown service
    uint64_t losses          # sent tasks lost with their worker or by lease
    uint64_t released        # tasks given back by their workers
    uint64_t redelivered     # dispatches of requests that had been sent before
    uint64_t answers_late    # with no task, or another worker's
    uint64_t answers_dropped  # for requests that had ended, or that could not be delivered
    uint64_t answers_evicted  # kept ones that had to make room
    uint64_t partials_late
    uint64_t expired_workers
    uint64_t waiting_bytes, running_bytes, kept, kept_bytes
    uint64_t clients         # numbers in use
    uint64_t workers         # that are not gone
    uint64_t services        # numbers in use
    uint64_t delayed         # of those waiting
    uint64_t refused_quota   # of those refused, those over a quota
    uint64_t adopted         # requests that took up a claim


cdef struct timers_t:        # heaps by due time, monotonic ns; timers.pxd says what each does
    heap_t deadlines         # open requests
    heap_t leases            # running requests, by the end of their task's lease
    heap_t delays            # delayed requests, by the end of their delay
    heap_t blocked_ends      # workers
    heap_t graces            # clients
    heap_t service_waits     # services
    heap_t liveness          # workers
    heap_t scratch           # empty between calls
    int64_t held_until       # when the last request that was held back is fresh


cdef struct shares_t:        # what the limits on shares compare; see shares.pxd
    uint64_t workerless      # requests that wait for services without workers
    uint64_t workerless_bytes
    uint32_t offered         # services that workers offer, or that are pinned
    uint32_t internal        # services that the broker itself answers
    uint32_t reserve         # clients that came in for those only
    uint8_t full             # disp_full: no request comes in


cdef struct flows_t:         # flows.pxd
    flow_t *at               # by number
    pool_t pool
    table_t found            # (owner, service, priority) → flow


cdef struct owners_t:        # owners.pxd
    owner_t *at              # by identity; owned
    uint32_t room
    stake_t *stakes          # by number
    pool_t pool              # of stakes
    table_t found            # (owner, service) → stake
    charge_t *charges        # by task; owned
    uint32_t charges_room


cdef struct actions_t:       # those from `next` to `end` are to be taken
    action_t *items          # owned
    uint32_t next            # both are 0 when none is, so the room is that of the most in a row
    uint32_t end
    uint32_t room


cdef struct dispatcher_t:
    limits_t limits
    counters_t counters
    request_t *requests      # arrays by number, each with its pool
    task_t *tasks
    client_t *clients
    worker_t *workers
    service_t *services
    offer_t *offers
    pool_t request_pool
    pool_t task_pool
    pool_t client_pool
    pool_t worker_pool
    pool_t service_pool
    pool_t offer_pool
    flows_t flows
    owners_t owners
    index_t by_token         # token → task
    uint64_t hash_seed
    uint64_t next_token
    uint64_t next_seq        # of requests
    uint64_t sent_seq        # of tasks
    uint64_t stamp           # rises with each READY
    uint64_t client_stamp    # rises with each client
    timers_t timers
    heap_t unmatched         # services to be matched before the call ends; key 0
    heap_t unserved          # workers to be served before the call ends; key 0
    queue_t kept             # KEPT requests, oldest delivery first
    shares_t shares
    actions_t actions
    int64_t now              # of the call that is running
