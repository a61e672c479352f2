# The dispatcher as Python calls it, for the simulation and the unit tests of its rules.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from pound._base.pool cimport NONE
from pound._dispatch.audit cimport audit
from pound._dispatch.claims cimport (
    disp_adopt, disp_claim_drop, disp_claim_state, disp_claims)
from pound._dispatch.dispatcher cimport (
    disp_action, disp_answer, disp_answer_bytes, disp_blocked, disp_cancel, disp_client_back,
    disp_client_close, disp_client_done, disp_client_lost, disp_client_open, disp_client_owner,
    disp_client_room, disp_deadline, disp_delete, disp_delivered, disp_evict, disp_full,
    disp_heard, disp_new, disp_offerable, disp_owner_set, disp_partial, disp_quota_wait,
    disp_release, disp_request, disp_sent, disp_service_drop, disp_service_open,
    disp_service_quota, disp_service_refusal, disp_tick, disp_undeliverable, disp_unsent,
    disp_worker_gone, disp_worker_leave, disp_worker_open, disp_worker_ready, disp_worker_void)
from pound._dispatch.limits cimport limits_default, limits_t
from pound._dispatch.model cimport (
    ACT_CANCEL, ACT_CLIENT_FREE, ACT_FAIL, ACT_FREE, ACT_SERVICE_FREE, ACT_TASK,
    ACT_WORKER_FREE, ACT_WORKER_GONE, ANS_COUNTED, ANS_DEAD, ANS_DROPPED, ANS_RELEASED,
    CLAIM_ADOPTED, CLAIM_NONE, CLAIM_OPEN, CLAIM_OTHER, LISTED_NOWHERE, LIVENESS_ALWAYS,
    LIVENESS_IDLE, LIVENESS_NEVER, OPENED_INTERNAL, OPENED_NAMED, OPENED_OFFERED, OPENED_PINNED,
    PRIORITIES, QUEUED_DELAYED, QUEUED_FRESH, QUEUED_HELD, QUEUED_ISOLATED, QUEUED_NOWHERE,
    QUEUED_RETURNED, READY_NEW_LIFE, READY_NEW_ROUTE, READY_SAME_ROUTE, REQUEST_ANSWERED,
    REQUEST_FREE, REQUEST_KEPT, REQUEST_RUNNING, REQUEST_WAITING, REQ_ACCEPTED, REQ_ANSWERED,
    REQ_BUSY, REQ_BUSY_BYTES, REQ_BUSY_CLIENTS, REQ_BUSY_MEMORY, REQ_BUSY_SERVICE,
    REQ_BUSY_SESSION, REQ_BUSY_SHARE, REQ_BUSY_WINDOW, REQ_BUSY_WORKERLESS, REQ_HELD, REQ_KEPT,
    REQ_MANY_NAMES, REQ_MANY_OWN_NAMES, REQ_MANY_SERVICES, REQ_NO_MEMORY, REQ_NO_SERVICE,
    REQ_QUOTA_BYTES, REQ_QUOTA_OPEN, REQ_QUOTA_RATE, REQ_SERVICE_QUOTA_BYTES,
    REQ_SERVICE_QUOTA_OPEN, REQ_SERVICE_QUOTA_RATE, REQ_STALE, TASK_SENT, action_t, claim_t,
    dispatcher_t, owner_limits_t, quota_t, request_t, service_t, worker_t)
from pound._wire.codes cimport CODE_UNAVAILABLE

# Python's copies of the C constants, whose names can't be assigned here.
globals().update(
    NONE=<uint32_t> NONE,
    ACT_TASK=ACT_TASK, ACT_CANCEL=ACT_CANCEL, ACT_FAIL=ACT_FAIL, ACT_FREE=ACT_FREE,
    ACT_WORKER_GONE=ACT_WORKER_GONE, ACT_WORKER_FREE=ACT_WORKER_FREE,
    ACT_CLIENT_FREE=ACT_CLIENT_FREE, ACT_SERVICE_FREE=ACT_SERVICE_FREE, REQ_ACCEPTED=REQ_ACCEPTED,
    REQ_HELD=REQ_HELD, REQ_ANSWERED=REQ_ANSWERED, REQ_KEPT=REQ_KEPT, REQ_STALE=REQ_STALE,
    REQ_BUSY=REQ_BUSY, REQ_BUSY_SERVICE=REQ_BUSY_SERVICE, REQ_BUSY_SESSION=REQ_BUSY_SESSION,
    REQ_NO_SERVICE=REQ_NO_SERVICE, REQ_NO_MEMORY=REQ_NO_MEMORY,
    REQ_BUSY_BYTES=REQ_BUSY_BYTES, REQ_BUSY_MEMORY=REQ_BUSY_MEMORY, ANS_COUNTED=ANS_COUNTED,
    ANS_DROPPED=ANS_DROPPED, ANS_DEAD=ANS_DEAD, ANS_RELEASED=ANS_RELEASED,
    READY_SAME_ROUTE=READY_SAME_ROUTE, READY_NEW_ROUTE=READY_NEW_ROUTE,
    READY_NEW_LIFE=READY_NEW_LIFE, LIVENESS_NEVER=LIVENESS_NEVER, LIVENESS_IDLE=LIVENESS_IDLE,
    LIVENESS_ALWAYS=LIVENESS_ALWAYS, REQUEST_WAITING=REQUEST_WAITING,
    REQUEST_RUNNING=REQUEST_RUNNING, REQUEST_ANSWERED=REQUEST_ANSWERED, REQUEST_KEPT=REQUEST_KEPT,
    REQ_BUSY_SHARE=REQ_BUSY_SHARE, REQ_BUSY_WORKERLESS=REQ_BUSY_WORKERLESS,
    REQ_BUSY_WINDOW=REQ_BUSY_WINDOW, REQ_BUSY_CLIENTS=REQ_BUSY_CLIENTS,
    REQ_MANY_SERVICES=REQ_MANY_SERVICES, REQ_MANY_NAMES=REQ_MANY_NAMES,
    REQ_MANY_OWN_NAMES=REQ_MANY_OWN_NAMES, REQ_QUOTA_OPEN=REQ_QUOTA_OPEN,
    REQ_QUOTA_BYTES=REQ_QUOTA_BYTES, REQ_QUOTA_RATE=REQ_QUOTA_RATE,
    REQ_SERVICE_QUOTA_OPEN=REQ_SERVICE_QUOTA_OPEN,
    REQ_SERVICE_QUOTA_BYTES=REQ_SERVICE_QUOTA_BYTES,
    REQ_SERVICE_QUOTA_RATE=REQ_SERVICE_QUOTA_RATE,
    OPENED_NAMED=OPENED_NAMED, OPENED_PINNED=OPENED_PINNED,
    OPENED_OFFERED=OPENED_OFFERED, OPENED_INTERNAL=OPENED_INTERNAL,
    QUEUED_NOWHERE=QUEUED_NOWHERE, QUEUED_FRESH=QUEUED_FRESH, QUEUED_RETURNED=QUEUED_RETURNED,
    QUEUED_ISOLATED=QUEUED_ISOLATED, QUEUED_DELAYED=QUEUED_DELAYED, QUEUED_HELD=QUEUED_HELD,
    CLAIM_NONE=CLAIM_NONE, CLAIM_OPEN=CLAIM_OPEN, CLAIM_ADOPTED=CLAIM_ADOPTED,
    CLAIM_OTHER=CLAIM_OTHER)

cdef object number(uint32_t n):
    return None if n == NONE else n


cdef quota_t quota_of(uint32_t open_max, uint64_t bytes_max, int64_t interval_ns, int64_t burst_ns):
    cdef quota_t quota
    quota.open_max = open_max
    quota.bytes_max = bytes_max
    quota.interval_ns = interval_ns
    quota.burst_ns = burst_ns
    return quota


cdef class Dispatcher:
    """A dispatcher, driven from Python: what the simulation tests.

    Parameters
    ----------
    token_seed : int
        The first token.
    **limits : int
        Limits other than the default, by the names of ``limits_t``.

    Notes
    -----
    The methods are the functions ``disp_*``. Clients, workers, services and slots are numbers,
    times are ns; a number that is not in use raises `ValueError`.
    """

    cdef dispatcher_t *d

    def __cinit__(self, *, uint64_t token_seed=0, **limits):
        cdef limits_t values = limits_default()
        cdef dict fields = values
        unknown = limits.keys() - fields.keys()
        if unknown:
            raise ValueError(f"no such limit: {', '.join(sorted(unknown))}")
        fields.update(limits)
        values = fields
        self.d = disp_new(&values, token_seed, token_seed)
        if self.d == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.d != NULL:
            disp_delete(self.d)

    cdef uint32_t client_number(self, uint32_t c) except? NONE:
        if c >= self.d.client_pool.fresh or not self.d.clients[c].used:
            raise ValueError(f"no client {c}")
        return c

    cdef uint32_t worker_number(self, uint32_t w) except? NONE:
        if w >= self.d.worker_pool.fresh or not self.d.workers[w].used:
            raise ValueError(f"no worker {w}")
        return w

    cdef uint32_t service_number(self, uint32_t s) except? NONE:
        if s >= self.d.service_pool.fresh or not self.d.services[s].used:
            raise ValueError(f"no service {s}")
        return s

    cdef uint32_t slot_number(self, uint32_t r) except? NONE:
        if r >= self.d.request_pool.fresh or self.d.requests[r].state == REQUEST_FREE:
            raise ValueError(f"no request {r}")
        return r

    cdef uint32_t answered_number(self, uint32_t r) except? NONE:
        if self.d.requests[self.slot_number(r)].state != REQUEST_ANSWERED:
            raise ValueError(f"request {r} has no answer to deliver")
        return r

    def service_open(self, int64_t lease_ns=0, uint8_t how=OPENED_NAMED, int64_t now=0, c=None):
        cdef uint32_t client = NONE if c is None else self.client_number(c)
        if how > OPENED_INTERNAL:
            raise ValueError(f"opened {how}")
        return number(disp_service_open(self.d, lease_ns, how, now, client))

    def service_refusal(self, uint8_t how, c=None):
        cdef uint32_t client = NONE if c is None else self.client_number(c)
        return disp_service_refusal(self.d, how, client)

    def service_drop(self, uint32_t s):
        disp_service_drop(self.d, self.service_number(s))

    def offerable(self, services):
        cdef uint32_t list[64]
        cdef uint32_t n = 0
        for s in services[:64]:
            list[n] = self.service_number(s)
            n += 1
        return bool(disp_offerable(self.d, list, n))

    def client_room(self, int64_t now):
        disp_client_room(self.d, now)

    def client_open(self, bint is_guide=False, bint reserve=False):
        return number(disp_client_open(self.d, is_guide, reserve))

    def client_owner(self, uint32_t c, uint32_t owner):
        if self.d.clients[self.client_number(c)].open:
            raise ValueError(f"client {c} has requests open")
        if disp_client_owner(self.d, c, owner) < 0:
            raise ValueError(f"owner {owner}")

    def owner_set(
        self, uint32_t owner, uint32_t weight=1, uint32_t open_max=0, uint64_t bytes_max=0,
        int64_t interval_ns=0, int64_t burst_ns=0, int64_t now=0
    ):
        cdef owner_limits_t limits
        limits.weight = weight
        limits.quota = quota_of(open_max, bytes_max, interval_ns, burst_ns)
        if disp_owner_set(self.d, owner, &limits, now) < 0:
            raise ValueError(f"owner {owner}")

    def service_quota(
        self, uint32_t s, uint32_t open_max=0, uint64_t bytes_max=0, int64_t interval_ns=0,
        int64_t burst_ns=0
    ):
        cdef quota_t quota = quota_of(open_max, bytes_max, interval_ns, burst_ns)
        if self.d.services[self.service_number(s)].refs or not self.d.services[s].pinned:
            raise ValueError(f"service {s} is in use, or not pinned")
        disp_service_quota(self.d, s, &quota)

    def quota_wait(self, uint32_t c, s, int64_t now):
        cdef uint32_t service = NONE if s is None else self.service_number(s)
        return disp_quota_wait(self.d, self.client_number(c), service, now)

    def client_done(self, uint32_t c, uint64_t done):
        disp_client_done(self.d, self.client_number(c), done)

    def client_lost(self, uint32_t c, int64_t grace_ns, int64_t now):
        disp_client_lost(self.d, self.client_number(c), grace_ns, now)

    def client_back(self, uint32_t c):
        disp_client_back(self.d, self.client_number(c))

    def client_close(self, uint32_t c, int64_t now):
        disp_client_close(self.d, self.client_number(c), now)

    def request(
        self, uint32_t c, uint64_t id, uint32_t s, uint8_t priority=0, int64_t timeout_ns=0,
        uint32_t size=64, bint internal=False, int64_t now=0, int64_t hold_ns=0
    ):
        cdef uint32_t slot
        if priority >= PRIORITIES:
            raise ValueError(f"priority {priority}")
        result = disp_request(
            self.d, self.client_number(c), id, self.service_number(s), priority, timeout_ns, size,
            internal, hold_ns, now, &slot)
        return result, number(slot)

    def cancel(self, uint32_t c, uint64_t id, int64_t now):
        return disp_cancel(self.d, self.client_number(c), id, now) == 1

    def delivered(self, uint32_t slot):
        disp_delivered(self.d, self.answered_number(slot))

    def evict(self, uint64_t size):
        disp_evict(self.d, size)

    def full(self, bint full):
        disp_full(self.d, full)

    def undeliverable(self, uint32_t slot):
        disp_undeliverable(self.d, self.answered_number(slot))

    def answer_bytes(self, uint32_t slot, uint32_t size):
        disp_answer_bytes(self.d, self.answered_number(slot), size)

    def worker_open(self, uint8_t mode, int64_t liveness_ns, bint notified, int64_t live):
        if mode > LIVENESS_ALWAYS:
            raise ValueError(f"liveness mode {mode}")
        return number(disp_worker_open(self.d, mode, liveness_ns, notified, live))

    def worker_ready(
        self, uint32_t w, uint32_t capacity, services, tokens, uint8_t how, int64_t now,
        int64_t live
    ):
        cdef uint32_t *service_list
        cdef uint64_t *token_list
        cdef Py_ssize_t i
        self.worker_number(w)
        if how > READY_NEW_LIFE:
            raise ValueError(f"ready {how}")
        services = [self.service_number(s) for s in services]
        tokens = [<uint64_t> token for token in tokens]
        service_list = <uint32_t *> malloc((len(services) + 1) * sizeof(uint32_t))
        token_list = <uint64_t *> malloc((len(tokens) + 1) * sizeof(uint64_t))
        for i in range(len(services)):
            service_list[i] = services[i]
        for i in range(len(tokens)):
            token_list[i] = tokens[i]
        disp_worker_ready(
            self.d, w, capacity, service_list, len(services), token_list, len(tokens), how, now,
            live)
        free(service_list)
        free(token_list)

    def worker_leave(self, uint32_t w, int64_t now):
        disp_worker_leave(self.d, self.worker_number(w), now)

    def worker_gone(self, uint32_t w, int64_t now):
        disp_worker_gone(self.d, self.worker_number(w), now)

    def worker_void(self, uint32_t w, int64_t now):
        disp_worker_void(self.d, self.worker_number(w), now)

    def heard(self, uint32_t w, int64_t now, int64_t live):
        disp_heard(self.d, self.worker_number(w), now, live)

    def blocked(self, uint32_t w, int64_t now):
        disp_blocked(self.d, self.worker_number(w), now)

    def answer(
        self, uint32_t w, uint64_t token, uint8_t code, uint32_t size, int64_t now, int64_t live,
        int64_t delay_ns=0, bint elsewhere=False
    ):
        cdef uint32_t slot
        self.worker_number(w)
        if code == CODE_UNAVAILABLE:
            result = disp_release(
                self.d, w, token, delay_ns, elsewhere, now, live, &slot)
        else:
            result = disp_answer(self.d, w, token, size, now, live, &slot)
        return result, number(slot)

    def partial(self, uint32_t w, uint64_t token):
        return number(disp_partial(self.d, self.worker_number(w), token))

    def claim_state(self, uint32_t w, uint64_t token):
        return disp_claim_state(self.d, self.worker_number(w), token)

    def claims(self, uint32_t w, claims, int64_t now):
        """Claim (token, running), in order; how many are claims now."""
        cdef claim_t *said
        cdef uint32_t n = len(claims)
        cdef uint32_t i
        self.worker_number(w)
        said = <claim_t *> malloc((n + 1) * sizeof(claim_t))
        for i in range(n):
            said[i].token, said[i].running = claims[i]
        entered = disp_claims(self.d, w, said, n, now)
        free(said)
        return entered

    def adopt(self, uint32_t w, uint64_t token, uint32_t slot, int64_t now):
        return disp_adopt(self.d, self.worker_number(w), token, self.slot_number(slot), 1, now) == 1

    def claim_drop(self, uint32_t w, uint64_t token, int64_t now):
        disp_claim_drop(self.d, self.worker_number(w), token, now)

    def unsent(self, uint32_t slot, uint64_t token):
        return slot < self.d.request_pool.fresh and disp_unsent(self.d, slot, token)

    def sent(self, uint32_t slot, uint64_t token, int64_t now):
        return slot < self.d.request_pool.fresh and disp_sent(self.d, slot, token, now) == 0

    def tick(self, int64_t now, int64_t live):
        due_at = disp_tick(self.d, now, live)
        return None if due_at < 0 else due_at

    def actions(self):
        """Take all actions, in order: (kind, code, slot, peer, token)."""
        cdef const action_t *action = disp_action(self.d)
        taken = []
        while action != NULL:
            taken.append((action.kind, action.code, number(action.slot), number(action.peer),
                          action.token))
            action = disp_action(self.d)
        return taken

    def counters(self):
        return self.d.counters

    def check(self):
        """Recount every invariant; end the process when one does not hold."""
        audit(self.d)

    def request_of(self, uint32_t slot):
        cdef request_t *request = &self.d.requests[self.slot_number(slot)]
        cdef uint32_t t = NONE if request.queued == QUEUED_FRESH else request.task
        return {
            "id": request.id, "seq": request.seq, "client": request.client,
            "service": request.service, "priority": request.priority, "bytes": request.bytes,
            "deadline": disp_deadline(self.d, slot), "attempts": request.attempts,
            "state": request.state, "queued": request.queued,
            "token": None if t == NONE else self.d.tasks[t].token,
            "worker": None if t == NONE else self.d.tasks[t].worker,
            "sent": t != NONE and self.d.tasks[t].state == TASK_SENT,
        }

    def worker(self, uint32_t w):
        cdef worker_t *worker = &self.d.workers[self.worker_number(w)]
        cdef uint32_t i
        return {
            "capacity": worker.capacity, "held": worker.held, "sent_seq": worker.sent_seq,
            "eligible": worker.listed != LISTED_NOWHERE, "blocked": worker.blocked_at != NONE,
            "leaving": worker.leaving == 1, "gone": worker.gone == 1,
            "isolating": worker.isolating == 1, "reserved_for": number(worker.reserved_for),
            "last_heard": worker.last_heard,
            "services": [self.d.offers[worker.offers[i]].service for i in range(worker.n_offers)],
        }

    def service(self, uint32_t s):
        cdef service_t *service = &self.d.services[self.service_number(s)]
        return {
            "waiting": service.waiting, "waiting_bytes": service.waiting_bytes,
            "delayed": service.delayed, "running": service.running,
            "isolated": service.isolated.count,
            "dispatches": service.dispatches, "workers": service.workers, "refs": service.refs,
            "reserved": number(service.reserved), "workerless_since": service.workerless_since,
        }
