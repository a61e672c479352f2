# A recount of all that the dispatcher counts. Each function checks some invariants in O(n) and
# aborts through CHECK if one is broken.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pound._base.check cimport CHECK
from pound._base.heap cimport heap_t, node_less, place_of, places_t
from pound._base.index cimport index_count, index_t, key_of, keys_t
from pound._base.lru cimport LATE, late_places, lru_t
from pound._base.pool cimport NONE
from .changes cimport (
    blocked_places, deadline_places, grace_places, id_keys, liveness_places, offer_entries,
    offer_lru, queue_places, request_find, returned_where, task_find, token_keys, wait_places,
    worker_place)
from .flows cimport flow_find
from .matching cimport has_work_for
from .model cimport (
    LISTED_BUSY, LISTED_IDLE, LISTED_NOWHERE, MARK_ANSWERED, MARK_CLAIMED, MARK_LISTED,
    PRIORITIES, QUEUED_DELAYED, QUEUED_FRESH, QUEUED_HELD, QUEUED_ISOLATED, QUEUED_NOWHERE,
    QUEUED_RETURNED, REQUEST_FREE, REQUEST_KEPT, REQUEST_RUNNING, REQUEST_WAITING, TASK_CLAIMED,
    TASK_FREE, TASK_SENT, TASK_UNSENT, account_t, charge_t, client_t, counters_t, dispatcher_t,
    flow_t, offer_t, request_t, service_t, shares_t, stake_t, task_t, worker_t)
from .owners cimport OWNERS_OWN, owner_known, stake_find
from .shares cimport CLIENTS_RESERVE


cdef inline void audit_heap(const heap_t *h, places_t places) noexcept nogil:
    """Parents come before their children, and each item knows its place."""
    cdef uint32_t i
    for i in range(h.count):
        CHECK(place_of(places, h.nodes[i].item)[0] == i, "item %u at %u", h.nodes[i].item, i)
        CHECK(i == 0 or not node_less(h.nodes[i], h.nodes[(i - 1) // 4]), "node %u of %u", i,
              h.count)


cdef inline void audit_index(const index_t *x, keys_t keys) noexcept nogil:
    """As many cells as it counts hold items, each in the cell that its key says."""
    cdef uint32_t i
    cdef uint32_t count = 0
    for i in range(x.mask + 1 if x.cells != NULL else 0):
        if x.cells[i] != NONE:
            CHECK((key_of(keys, x.cells[i]) & x.mask) == i, "item %u in cell %u", x.cells[i], i)
            count += 1
    CHECK(count == x.in_cells, "%u items in cells, not %u", count, x.in_cells)


cdef inline void audit_waiting(const dispatcher_t *d, uint32_t r) noexcept nogil:
    """A waiting request is in the queue that its attempts call for; its old task is sent."""
    cdef const request_t *request = &d.requests[r]
    CHECK(request.queued != QUEUED_NOWHERE, "request %u waits nowhere", r)
    CHECK(request.queued == returned_where(request) or request.queued == QUEUED_FRESH
          or request.queued == QUEUED_DELAYED or request.queued == QUEUED_HELD,
          "request %u in %u after %u", r, <uint32_t> request.queued, <uint32_t> request.attempts)
    CHECK((request.queued != QUEUED_DELAYED and request.queued != QUEUED_HELD)
          or request.task == NONE,
          "request %u is delayed and has task %u", r, request.task)
    if request.queued == QUEUED_FRESH:
        CHECK(request.attempts == 0, "request %u is fresh and was sent", r)
        return
    CHECK(request.task == NONE or d.tasks[request.task].state == TASK_SENT,
          "request %u waits and has task %u", r, request.task)


cdef inline void audit_request(const dispatcher_t *d, uint32_t r, uint64_t *refs) noexcept nogil:
    """A request is in one state, and everything that refers to it agrees."""
    cdef const request_t *request = &d.requests[r]
    cdef const client_t *client = &d.clients[request.client]
    cdef bint is_open = request.state in (REQUEST_WAITING, REQUEST_RUNNING)
    CHECK(client.used and d.services[request.service].used, "request %u of nobody", r)
    CHECK(client.is_guide or request_find(d, request.client, request.id) == r,
          "request %u is not found", r)
    CHECK(request.id <= client.highest, "request %u above the highest id", r)
    CHECK(is_open or request.deadline_at == NONE, "request %u has ended and a timer", r)
    CHECK(request.attempts <= d.limits.attempts_max, "request %u: %u attempts", r,
          <uint32_t> request.attempts)
    refs[request.service] += 1
    if request.state == REQUEST_WAITING:
        audit_waiting(d, r)
        return
    CHECK(request.queued == QUEUED_NOWHERE, "request %u is queued", r)
    CHECK((request.task != NONE) == (request.state == REQUEST_RUNNING), "request %u: task %u", r,
          request.task)
    if request.task != NONE:
        CHECK(d.tasks[request.task].request == r, "request %u: task %u", r, request.task)
        CHECK(d.tasks[request.task].holds or d.tasks[request.task].marks & MARK_ANSWERED,
              "request %u runs without credit", r)


cdef inline void audit_requests(const dispatcher_t *d, uint64_t *refs) noexcept nogil:
    """Each accepted request is in one place, and the sums add up."""
    cdef const counters_t *counters = &d.counters
    cdef uint64_t waiting = 0
    cdef uint64_t running = 0
    cdef uint64_t running_bytes = 0
    cdef uint64_t kept = 0
    cdef uint64_t used = 0
    cdef uint64_t timers = 0
    cdef uint32_t r
    for r in range(d.request_pool.fresh):
        if d.requests[r].state == REQUEST_FREE:
            continue
        used += 1
        timers += d.requests[r].deadline_at != NONE
        waiting += d.requests[r].state == REQUEST_WAITING
        running += d.requests[r].state == REQUEST_RUNNING
        if d.requests[r].state == REQUEST_RUNNING:
            running_bytes += d.requests[r].bytes
        kept += d.requests[r].state == REQUEST_KEPT
        audit_request(d, r, refs)
    CHECK(waiting == counters.waiting and running == counters.running, "%lu wait, %lu run",
          waiting, running)
    CHECK(running_bytes == counters.running_bytes, "%lu bytes run", running_bytes)
    CHECK(timers == d.timers.deadlines.count, "%lu requests have one of %u deadlines", timers,
          d.timers.deadlines.count)
    CHECK(kept == counters.kept and used == d.request_pool.used, "%lu kept, %lu in all", kept,
          used)
    CHECK(counters.accepted == counters.waiting + counters.running + counters.answered
          + counters.failed + counters.cancelled + counters.expired,
          "%lu accepted, %lu wait, %lu run", counters.accepted, counters.waiting, counters.running)


cdef inline void audit_kept(const dispatcher_t *d) noexcept nogil:
    """The kept answers and their bytes are those of the list, within the limit."""
    cdef uint64_t count = 0
    cdef uint64_t size = 0
    cdef uint32_t r = d.kept.head
    while r != NONE:
        CHECK(d.requests[r].state == REQUEST_KEPT, "request %u on the list of kept ones", r)
        CHECK(d.requests[r].id >= d.clients[d.requests[r].client].done, "request %u is done", r)
        count += 1
        size += d.requests[r].bytes
        r = d.requests[r].queue.next
    CHECK(count == d.counters.kept and size == d.counters.kept_bytes, "%lu kept, %lu bytes", count,
          size)
    CHECK(size <= d.limits.answers_bytes_max, "%lu bytes kept", size)


cdef inline void audit_client(const dispatcher_t *d, uint32_t c) noexcept nogil:
    """A client's list holds its requests in order of acceptance."""
    cdef const client_t *client = &d.clients[c]
    cdef uint32_t r = client.requests.head
    cdef uint32_t previous = NONE
    cdef uint32_t count = 0
    cdef uint32_t n_open = 0
    cdef uint64_t bytes = 0
    while r != NONE:
        CHECK(d.requests[r].client == c, "request %u of client %u", r, c)
        CHECK(d.requests[r].sibling.prev == previous, "request %u of client %u", r, c)
        CHECK(previous == NONE or d.requests[previous].seq < d.requests[r].seq, "request %u", r)
        count += 1
        if d.requests[r].state in (REQUEST_WAITING, REQUEST_RUNNING):
            n_open += 1
            bytes += d.requests[r].bytes
        previous = r
        r = d.requests[r].sibling.next
    CHECK(bytes == client.open_bytes, "client %u has %lu bytes open", c, bytes)
    CHECK(count == client.count and n_open == client.open, "client %u has %u, %u open", c, count,
          n_open)
    CHECK(index_count(&client.ids) == (0 if client.is_guide else count), "client %u finds %u", c,
          index_count(&client.ids))
    audit_index(&client.ids, id_keys(d))
    CHECK(previous == client.requests.tail, "client %u", c)


cdef inline void audit_task(const dispatcher_t *d, uint32_t t) noexcept nogil:
    """A task is found by its token; its request knows it; only a live worker's holds credit.

    What was claimed and is answered holds none; a claim has no request.
    """
    cdef const task_t *task = &d.tasks[t]
    cdef bint answered = task.marks & MARK_ANSWERED != 0
    CHECK(task_find(d, task.token) == t, "task %u is not found", t)
    CHECK(d.workers[task.worker].used, "task %u of nobody", t)
    CHECK(task.holds == (not d.workers[task.worker].gone and not answered), "task %u holds %u", t,
          <uint32_t> task.holds)
    CHECK(task.state != TASK_UNSENT or (task.request != NONE and task.marks == 0),
          "task %u is unsent", t)
    CHECK(task.state != TASK_CLAIMED or task.request == NONE, "claim %u of request %u", t,
          task.request)
    CHECK(task.marks & MARK_CLAIMED or (task.state != TASK_CLAIMED and not answered),
          "task %u was not claimed", t)
    CHECK(not task.marks & MARK_LISTED, "task %u is listed", t)
    if task.request != NONE:
        CHECK(d.requests[task.request].task == t, "task %u of request %u", t, task.request)
    else:
        CHECK(not d.workers[task.worker].gone, "orphan %u of a gone worker", t)


cdef inline void audit_offers(const dispatcher_t *d, uint32_t w, uint64_t *refs) noexcept nogil:
    """A worker is listed as its state wants, and knows its offers."""
    cdef const worker_t *worker = &d.workers[w]
    cdef uint32_t i, o
    CHECK(worker.listed == worker_place(worker), "worker %u listed in %u", w,
          <uint32_t> worker.listed)
    for i in range(worker.n_offers):
        o = worker.offers[i]
        refs[d.offers[o].service] += 1
        CHECK(d.offers[o].worker == w and d.offers[o].index == i, "offer %u of worker %u", o, w)


cdef inline void audit_worker(const dispatcher_t *d, uint32_t w, uint64_t *refs) noexcept nogil:
    """A worker holds what its tasks say; a gone one is there for returned tasks only."""
    cdef const worker_t *worker = &d.workers[w]
    cdef uint32_t held = 0
    cdef uint32_t isolating = 0
    cdef uint32_t claimed = 0
    cdef uint32_t t = worker.tasks.head
    while t != NONE:
        CHECK(d.tasks[t].worker == w, "task %u of worker %u", t, w)
        held += d.tasks[t].holds
        isolating += d.tasks[t].holds and d.tasks[t].isolates
        if d.tasks[t].marks & MARK_CLAIMED:
            claimed += d.tasks[t].holds
        t = d.tasks[t].sibling.next
    CHECK(held == worker.held, "worker %u holds %u, not %u", w, held, worker.held)
    CHECK(worker.isolating == (isolating > 0), "worker %u isolates %u", w, isolating)
    CHECK(not worker.isolating or held - claimed == 1, "worker %u isolates and holds %u", w, held)
    CHECK(not worker.gone or (held == 0 and worker.n_offers == 0 and worker.tasks.head != NONE),
          "worker %u is gone, holds %u", w, held)
    CHECK(worker.unserved_at == NONE and not worker.pinned, "worker %u", w)
    if worker.reserved_for != NONE:
        CHECK(d.services[worker.reserved_for].reserved == w, "worker %u is reserved", w)
        CHECK(held > 0 and not worker.leaving and not worker.gone, "worker %u is reserved", w)
    audit_offers(d, w, refs)


cdef inline uint64_t audit_queue(
    const dispatcher_t *d, const service_t *service, const heap_t *h, uint8_t where, uint64_t *size
) noexcept nogil:
    """A heap of waiting requests: how many they are, adding up their bytes."""
    cdef uint32_t i, r
    for i in range(h.count):
        r = h.nodes[i].item
        CHECK(d.requests[r].queued == where, "request %u", r)
        CHECK(&d.services[d.requests[r].service] == service, "request %u", r)
        size[0] += d.requests[r].bytes
    return h.count


cdef inline uint64_t audit_delayed(
    const dispatcher_t *d, uint32_t s, uint64_t *size
) noexcept nogil:
    """A service's delayed requests: how many they are, adding up their bytes."""
    cdef uint64_t count = 0
    cdef uint32_t i, r
    for i in range(d.timers.delays.count):
        r = d.timers.delays.nodes[i].item
        CHECK(d.requests[r].queued == QUEUED_DELAYED or d.requests[r].queued == QUEUED_HELD,
              "request %u", r)
        if d.requests[r].service == s:
            count += 1
            size[0] += d.requests[r].bytes
    CHECK(count == d.services[s].delayed, "service %u delays %lu", s, count)
    return count


cdef inline uint64_t audit_flow(
    const dispatcher_t *d, uint32_t f, uint64_t *size
) noexcept nogil:
    """A flow is of one owner, in order; only the first one's turn has begun: how many it has."""
    cdef const flow_t *flow = &d.flows.at[f]
    cdef const request_t *request
    cdef uint64_t count = 0
    cdef uint32_t previous = NONE
    cdef uint32_t r = flow.requests.head
    CHECK(flow.used and flow_find(d, flow.owner, flow.service, flow.priority) == f,
          "flow %u is not found", f)
    CHECK(r != NONE and flow.requests.tail != NONE, "flow %u is empty", f)
    CHECK(flow.served == 0 or d.services[flow.service].turns[flow.priority] == f,
          "flow %u was given %u", f, flow.served)
    while r != NONE:
        request = &d.requests[r]
        CHECK(request.queued == QUEUED_FRESH and request.task == f, "request %u in flow %u", r, f)
        CHECK(d.clients[request.client].owner == flow.owner and request.priority == flow.priority
              and request.service == flow.service, "request %u in flow %u", r, f)
        CHECK(previous == NONE or d.requests[previous].since <= request.since, "request %u", r)
        count += 1
        size[0] += request.bytes
        previous = r
        r = request.queue.next
    CHECK(flow.requests.tail == previous, "flow %u", f)
    return count


cdef inline uint64_t audit_priority(
    const dispatcher_t *d, const service_t *service, uint32_t p, uint64_t *size
) noexcept nogil:
    """The fresh and returned requests of a priority: how many they are, adding up their bytes."""
    cdef uint64_t count = audit_queue(d, service, &service.returned[p], QUEUED_RETURNED, size)
    cdef uint32_t f = service.turns[p]
    cdef uint32_t following
    while f != NONE:
        following = d.flows.at[f].ring.next
        CHECK(d.flows.at[following].ring.prev == f, "flow %u after flow %u", following, f)
        CHECK(&d.services[d.flows.at[f].service] == service and d.flows.at[f].priority == p,
              "flow %u in another ring", f)
        count += audit_flow(d, f, size)
        f = NONE if following == service.turns[p] else following
    CHECK((service.filled >> p & 1) == (count > 0), "priority %u holds %lu", p, count)
    return count


cdef inline void audit_listed(
    const dispatcher_t *d, uint32_t s, uint8_t listed, uint32_t o
) noexcept nogil:
    """An offer in a lru is of its service, and of a worker that is listed so."""
    cdef const offer_t *offer = &d.offers[o]
    cdef const worker_t *worker = &d.workers[offer.worker]
    CHECK(offer.service == s and worker.listed == listed, "offer %u of service %u", o, s)
    CHECK(offer.index < worker.n_offers and worker.offers[offer.index] == o, "offer %u", o)
    CHECK(<uint64_t> offer.entry.key == worker.sent_seq, "offer %u", o)


cdef inline uint64_t audit_lru(
    const dispatcher_t *d, uint32_t s, uint8_t listed
) noexcept nogil:
    """Keys rise along the list, late ones are in the heap: how many offers they are."""
    cdef const lru_t *lru = offer_lru(&d.services[s], listed)
    cdef uint64_t count = lru.late.count
    cdef uint32_t previous = NONE
    cdef uint32_t o = lru.order.head
    cdef uint32_t i
    while o != NONE:
        CHECK(d.offers[o].entry.link.prev == previous, "offer %u", o)
        CHECK(previous == NONE or d.offers[previous].entry.key < d.offers[o].entry.key,
              "offer %u is late", o)
        audit_listed(d, s, listed, o)
        count += 1
        previous = o
        o = d.offers[o].entry.link.next
    CHECK(lru.order.tail == previous, "service %u", s)
    audit_heap(&lru.late, late_places(offer_entries(d)))
    for i in range(lru.late.count):
        o = lru.late.nodes[i].item
        CHECK(d.offers[o].entry.link.next == LATE, "offer %u", o)
        CHECK(d.offers[o].entry.key == lru.late.nodes[i].key, "offer %u", o)
        audit_listed(d, s, listed, o)
    return count


cdef inline void audit_lrus(const dispatcher_t *d) noexcept nogil:
    """All offers of eligible workers, and no others, are in the ranks, each once."""
    cdef uint64_t count = 0
    cdef uint64_t wanted = 0
    cdef uint32_t i
    for i in range(d.service_pool.fresh):
        if d.services[i].used:
            count += audit_lru(d, i, LISTED_IDLE) + audit_lru(d, i, LISTED_BUSY)
    for i in range(d.worker_pool.fresh):
        if d.workers[i].used and d.workers[i].listed != LISTED_NOWHERE:
            wanted += d.workers[i].n_offers
    CHECK(count == wanted, "%lu offers listed, not %lu", count, wanted)


cdef inline void audit_service(dispatcher_t *d, uint32_t s, uint64_t refs) noexcept nogil:
    """A service's counts are those of its queues; no worker is kept from work that it could do."""
    cdef service_t *service = &d.services[s]
    cdef uint64_t size = 0
    cdef uint64_t count = audit_queue(d, service, &service.isolated, QUEUED_ISOLATED, &size)
    cdef uint32_t p
    audit_heap(&service.isolated, queue_places(d))
    for p in range(PRIORITIES):
        audit_heap(&service.returned[p], queue_places(d))
        count += audit_priority(d, service, p, &size)
    count += audit_delayed(d, s, &size)
    CHECK(count == service.waiting and size == service.waiting_bytes,
          "service %u: %lu wait, %lu bytes", s, count, size)
    CHECK(refs == service.refs, "service %u: %lu refs, not %lu", s, refs, service.refs)
    CHECK(service.unmatched_at == NONE, "service %u is not matched", s)
    CHECK(service.wait_at == NONE or (service.workers == 0 and service.waiting > 0),
          "service %u waits for a worker", s)
    CHECK((service.wait_at != NONE) == (d.limits.service_wait_ns > 0 and service.workers == 0
          and service.waiting > service.delayed), "service %u waits", s)
    if service.reserved != NONE:
        CHECK(d.workers[service.reserved].reserved_for == s, "service %u reserved", s)
        CHECK(service.isolated.count > 0, "service %u reserved for nothing", s)


cdef inline void audit_flows(const dispatcher_t *d) noexcept nogil:
    """Each flow is in its ring, and as many are found as there are; the others are not in use."""
    cdef uint32_t in_rings = 0
    cdef uint32_t s, p, f
    for s in range(d.service_pool.fresh):
        for p in range(PRIORITIES if d.services[s].used else 0):
            f = d.services[s].turns[p]
            while f != NONE:
                in_rings += 1
                f = d.flows.at[f].ring.next
                f = NONE if f == d.services[s].turns[p] else f
    CHECK(in_rings == d.flows.pool.used and d.flows.found.count == d.flows.pool.used,
          "%u flows, %u of them in rings, %u found", d.flows.pool.used, in_rings,
          d.flows.found.count)


cdef inline void audit_account(
    const dispatcher_t *d, uint32_t owner, uint32_t s, const account_t *account
) noexcept nogil:
    """An account counts what its owner has open, in one service, or in all: NONE."""
    cdef uint64_t size = 0
    cdef uint32_t n_open = 0
    cdef uint32_t n_orphans = 0
    cdef const charge_t *charge
    cdef uint32_t r
    for r in range(d.request_pool.fresh):
        if (d.requests[r].state in (REQUEST_WAITING, REQUEST_RUNNING)
                and d.clients[d.requests[r].client].owner == owner
                and (s == NONE or d.requests[r].service == s)):
            n_open += 1
            size += d.requests[r].bytes
    CHECK(n_open == account.open and size == account.bytes, "owner %u has %u open, not %u", owner,
          n_open, account.open)
    for r in range(d.owners.charges_room):
        charge = &d.owners.charges[r]
        if (charge.used and charge.owner == owner and (s == NONE or charge.service == s)
                and (owner_known(d, owner)
                     or charge.stamp == d.clients[owner - OWNERS_OWN].stamp)):
            n_orphans += 1
    CHECK(n_orphans == account.orphans, "owner %u has %u orphans, not %u", owner, n_orphans,
          account.orphans)


cdef inline void audit_quotas(const dispatcher_t *d) noexcept nogil:
    """Each account is right; a stake is in a service with a quota, and found."""
    cdef uint32_t i
    cdef const stake_t *stake
    for i in range(d.owners.room):
        if d.owners.at[i].account.open > 0 or d.owners.at[i].account.orphans > 0:
            audit_account(d, i, NONE, &d.owners.at[i].account)
    for i in range(d.owners.charges_room):
        CHECK(not d.owners.charges[i].used or (
            d.tasks[i].state == TASK_SENT and d.tasks[i].request == NONE),
            "task %u is charged and no orphan", i)
    for i in range(d.owners.pool.fresh):
        stake = &d.owners.stakes[i]
        if not stake.used:
            continue
        CHECK(d.services[stake.service].has_quota and stake_find(d, stake.owner, stake.service)
              == stake, "stake %u of owner %u", i, stake.owner)
        CHECK(owner_known(d, stake.owner) or d.clients[stake.owner - OWNERS_OWN].used,
              "stake %u of a client that is gone", i)
        audit_account(d, stake.owner, stake.service, &stake.account)
    CHECK(d.owners.found.count == d.owners.pool.used, "%u stakes", d.owners.pool.used)


cdef inline void audit_matched(const dispatcher_t *d) noexcept nogil:
    """No eligible worker offers a service that has work for it."""
    cdef const worker_t *worker
    cdef uint32_t w, i, s
    for w in range(d.worker_pool.fresh):
        worker = &d.workers[w]
        if not worker.used or worker.listed == LISTED_NOWHERE:
            continue
        for i in range(worker.n_offers):
            s = d.offers[worker.offers[i]].service
            CHECK(not has_work_for(&d.services[s], worker), "service %u waits for worker %u", s, w)


cdef inline void audit_shares(const dispatcher_t *d) noexcept nogil:
    """Each service is offered, internal or a name; who named what, and what waits for names."""
    cdef const shares_t *shares = &d.shares
    cdef uint32_t offered = 0
    cdef uint32_t internal = 0
    cdef uint32_t named = 0
    cdef uint64_t workerless = 0
    cdef uint64_t bytes = 0
    cdef uint32_t i
    cdef const service_t *service
    for i in range(d.service_pool.fresh):
        service = &d.services[i]
        if not service.used:
            continue
        if service.workers > 0 or service.pinned:
            offered += 1
        internal += service.internal
        if service.workers == 0:
            workerless += service.waiting
            bytes += service.waiting_bytes
        if (service.namer != NONE and d.clients[service.namer].used
                and d.clients[service.namer].stamp == service.namer_stamp):
            named += 1
    CHECK(offered == shares.offered and internal == shares.internal, "%u offered", shares.offered)
    CHECK(workerless == shares.workerless and bytes == shares.workerless_bytes,
          "%lu wait in vain", shares.workerless)
    for i in range(d.client_pool.fresh):
        if d.clients[i].used:
            named -= d.clients[i].named
    CHECK(named == 0, "%u named services", named)


cdef inline void audit_limits(const dispatcher_t *d) noexcept nogil:
    """Numbers in use are as counted, within the limits; the working sets are empty."""
    cdef const counters_t *counters = &d.counters
    cdef uint64_t living = 0
    cdef uint32_t w
    CHECK(counters.clients == d.client_pool.used
          and counters.clients - d.shares.reserve <= d.limits.clients_max
          and d.shares.reserve <= CLIENTS_RESERVE, "%lu clients", counters.clients)
    for w in range(d.worker_pool.fresh):
        if d.workers[w].used and not d.workers[w].gone:
            living += 1
    CHECK(counters.workers == living, "%lu workers", counters.workers)
    CHECK(counters.services == d.service_pool.used, "%lu services", counters.services)
    audit_shares(d)
    audit_index(&d.by_token, token_keys(d))
    CHECK(index_count(&d.by_token) == d.task_pool.used, "%u tokens", index_count(&d.by_token))
    CHECK(d.unmatched.count == 0 and d.unserved.count == 0 and d.timers.scratch.count == 0,
          "%u not matched, %u not served", d.unmatched.count, d.unserved.count)


cdef inline void audit_heaps(dispatcher_t *d) noexcept nogil:
    audit_heap(&d.timers.deadlines, deadline_places(d))
    audit_heap(&d.timers.leases, queue_places(d))
    audit_heap(&d.timers.delays, queue_places(d))
    audit_heap(&d.timers.blocked_ends, blocked_places(d))
    audit_heap(&d.timers.graces, grace_places(d))
    audit_heap(&d.timers.service_waits, wait_places(d))
    audit_heap(&d.timers.liveness, liveness_places(d))


cdef inline void audit_totals(dispatcher_t *d, uint64_t *refs) noexcept nogil:
    """The services' own counts add up to those of the whole."""
    cdef uint64_t waiting = 0
    cdef uint64_t waiting_bytes = 0
    cdef uint64_t running = 0
    cdef uint32_t s
    for s in range(d.service_pool.fresh):
        if d.services[s].used:
            audit_service(d, s, refs[s])
            waiting += d.services[s].waiting
            waiting_bytes += d.services[s].waiting_bytes
            running += d.services[s].running
    CHECK(waiting == d.counters.waiting, "%lu wait", waiting)
    CHECK(waiting_bytes == d.counters.waiting_bytes, "%lu bytes wait", waiting_bytes)
    CHECK(running == d.counters.running, "%lu run", running)
    CHECK(d.timers.delays.count == d.counters.delayed, "%u are delayed", d.timers.delays.count)


cdef inline void audit(dispatcher_t *d) noexcept nogil:
    """audit checks every invariant that holds between calls."""
    cdef uint64_t *refs = <uint64_t *> calloc(d.service_pool.room, sizeof(uint64_t))
    cdef uint32_t i
    CHECK(refs != NULL, "no memory for %u services", d.service_pool.room)
    audit_requests(d, refs)
    audit_kept(d)
    for i in range(d.client_pool.fresh):
        if d.clients[i].used:
            audit_client(d, i)
    for i in range(d.task_pool.fresh):
        if d.tasks[i].state != TASK_FREE:
            audit_task(d, i)
    for i in range(d.worker_pool.fresh):
        if d.workers[i].used:
            audit_worker(d, i, refs)
    audit_totals(d, refs)
    audit_lrus(d)
    audit_flows(d)
    audit_quotas(d)
    audit_matched(d)
    audit_limits(d)
    audit_heaps(d)
    free(refs)
