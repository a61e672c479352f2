"""Moved requests and kept tasks find each other by key (rules: adoption.pxd)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from pound._base.buffer cimport buffer_extend, buffer_free
from pound._base.clock cimport wall_ns
from pound._base.links cimport links_of, links_t, queue_append, queue_init, queue_remove
from pound._base.pool cimport NONE, pool_free, pool_give, pool_init, pool_take
from pound._base.table cimport names_free, names_get, names_init, names_put, names_remove
from pound._dispatch.changes cimport task_find
from pound._dispatch.claims cimport (
    disp_adopt, disp_claim_drop, disp_claim_state, disp_claims, disp_tokens_above)
from pound._dispatch.model cimport (
    CLAIM_ADOPTED, CLAIM_NONE, CLAIM_OPEN, REQUEST_RUNNING, REQUEST_WAITING, TASK_CLAIMED,
    TASK_UNSENT, claim_t, request_t)
from pound._wire.packets cimport (
    HOLDS_ENTRY_SIZE, HOLDS_RUNNING, KEY_SIZE, KIND_ACCEPTED, KIND_CANCEL, holds_entry,
    holds_entry_t, key_given, record_t)
from pound.security.table cimport ROLE_WORKER
from .actions cimport act
from .control cimport notify
from .credits cimport credit_adopted
from .kinds cimport C_NO_MEMORY
from .state cimport adoption_t, broker_t, known_key_t, peer_t

cdef enum:
    SKEW_MS = 60000          # by how much the clocks of brokers may differ
    TOKENS_SHIFT = 20        # a token is not below the wall clock's ms at its start << 20


# -- keys -------------------------------------------------------------------------------------

cdef inline links_t age_links(adoption_t *a) noexcept nogil:
    return links_of(&a.known[0].link, sizeof(known_key_t))


# key_known returns what is known under a key; NULL: nothing.
cdef known_key_t *key_known(adoption_t *a, const uint8_t *key) noexcept nogil:
    cdef uint32_t number = names_get(&a.keys, key, KEY_SIZE)
    return NULL if number == NONE else &a.known[number]


# key_make notes a key; NULL: there are too many, or no memory.
cdef known_key_t *key_make(broker_t *b, const uint8_t *key) noexcept nogil:
    cdef adoption_t *a = &b.adoption
    cdef uint32_t number = NONE
    if a.pool.used < <uint32_t> KEYS_MAX:
        number = pool_take(&a.pool, <void **> &a.known, sizeof(known_key_t))
    if number == NONE or names_put(&a.keys, key, KEY_SIZE, number):
        if number != NONE:
            pool_give(&a.pool, <void **> &a.known, sizeof(known_key_t), number)
        b.counters[C_NO_MEMORY] += 1
        return NULL
    memcpy(a.known[number].key, key, KEY_SIZE)
    a.known[number].until = b.now + b.settings.client_grace_ns
    queue_append(&a.by_age, age_links(a), number)
    return &a.known[number]


# of_request makes a key that of the request in a slot.
cdef void of_request(
        broker_t *b, known_key_t *known, uint32_t slot, uint64_t run) noexcept nogil:
    known.token = 0
    known.run = run
    known.slot = slot
    known.seq = b.d.requests[slot].seq


# claim_holder returns the worker of a claim; NULL: it is none any more.
cdef peer_t *claim_holder(broker_t *b, const known_key_t *known) noexcept nogil:
    cdef uint32_t task = task_find(b.d, known.token) if known.token else NONE
    if task == NONE or b.d.tasks[task].state != TASK_CLAIMED:
        return NULL
    return b.peers.of_worker[b.d.tasks[task].worker]


# awaits says whether the request of a key may still be adopted.
cdef bint awaits(const broker_t *b, const known_key_t *known) noexcept nogil:
    cdef const request_t *request = &b.d.requests[known.slot]
    if known.token or request.seq != known.seq:
        return False
    if request.state == REQUEST_RUNNING:  # but its task was not sent
        return b.d.tasks[request.task].state == TASK_UNSENT
    return request.state == REQUEST_WAITING


# -- adopting ---------------------------------------------------------------------------------

# adopt has the request in a slot run as a claim of a worker: whether it does.
cdef bint adopt(
        broker_t *b, known_key_t *known, uint32_t slot, peer_t *worker, uint64_t token,
        uint8_t attempt) noexcept nogil:
    if not disp_adopt(b.d, worker.worker, token, slot, attempt, b.now):
        return False
    of_request(b, known, slot, token)
    notify(b, worker, KIND_ACCEPTED, token)
    credit_adopted(b, worker, slot, token)
    act(b)
    return True


cdef int64_t adoption_hold(broker_t *b, const record_t *r) noexcept nogil:
    disp_tokens_above(b.d, tokens_later())  # whatever its client has seen: the next run is later
    return b.settings.adopt_wait_ns if key_given(r.key) else 0


cdef void adoption_moved(broker_t *b, uint32_t slot, const record_t *r) noexcept nogil:
    cdef known_key_t *known = key_known(&b.adoption, r.key)
    cdef peer_t *worker
    if known == NULL:
        known = key_make(b, r.key)
        if known != NULL:
            of_request(b, known, slot, r.run)
        return
    worker = claim_holder(b, known)
    if worker != NULL and known.token >= r.run:
        adopt(b, known, slot, worker, known.token, known.attempt)
    elif worker != NULL:  # its client has seen a later run
        cancel_claim(b, worker, known.token)
        of_request(b, known, slot, r.run)
    elif not awaits(b, known):
        of_request(b, known, slot, r.run)


# -- tokens -----------------------------------------------------------------------------------

cdef uint64_t tokens_at(int64_t ms) noexcept nogil:
    return <uint64_t> ms << TOKENS_SHIFT


cdef uint64_t tokens_now(uint64_t seed) noexcept nogil:
    return tokens_at(wall_ns() // 1000000) | seed >> (64 - TOKENS_SHIFT)


# tokens_later is above the tokens that any broker has given out by now.
cdef uint64_t tokens_later() noexcept nogil:
    return tokens_at(wall_ns() // 1000000 + SKEW_MS)


# -- what a worker holds ----------------------------------------------------------------------

cdef uint32_t adoption_count(const peer_t *peer) noexcept nogil:
    return <uint32_t> (peer.pnd.holds.size // HOLDS_ENTRY_SIZE)


# may_hold says whether a peer may be a worker.
cdef inline bint may_hold(const broker_t *b, const peer_t *peer) noexcept nogil:
    return b.guard == NULL or peer.rights.roles & ROLE_WORKER != 0


cdef void adoption_heard(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    cdef size_t size = HOLDS_ENTRY_SIZE * <size_t> r.holds
    cdef uint8_t *at = NULL
    if b.drain.draining or size == 0 or not may_hold(b, peer):
        return
    if (b.adoption.heard_bytes + size <= HOLDS_MAX
            and adoption_count(peer) + <uint64_t> r.holds <= ENTRIES_MAX):
        at = buffer_extend(&peer.pnd.holds, size)
    if at == NULL:
        b.counters[C_NO_MEMORY] += 1
        return
    memcpy(at, r.holds_list, size)
    b.adoption.heard_bytes += size


cdef void adoption_forget(broker_t *b, peer_t *peer) noexcept nogil:
    b.adoption.heard_bytes -= peer.pnd.holds.size
    buffer_free(&peer.pnd.holds)


cdef void adoption_tokens(const peer_t *peer, uint64_t *tokens) noexcept nogil:
    cdef holds_entry_t entry
    cdef uint32_t i
    for i in range(adoption_count(peer)):
        holds_entry(peer.pnd.holds.data, i, &entry)
        tokens[i] = entry.token


# cancel_claim lets a worker know that nobody wants a claim. One that runs holds its credit until it
# is answered, as any cancelled task does.
cdef void cancel_claim(broker_t *b, peer_t *worker, uint64_t token) noexcept nogil:
    cdef uint32_t task = task_find(b.d, token)
    notify(b, worker, KIND_CANCEL, token)
    if not b.d.tasks[task].holds:
        disp_claim_drop(b.d, worker.worker, token, b.now)
        act(b)


cdef void adoption_over(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil:
    disp_claim_drop(b.d, peer.worker, token, b.now)
    act(b)


# claimable says whether a task that a worker holds may be its request's: not if another one has it.
cdef bint claimable(
        broker_t *b, const peer_t *peer, const holds_entry_t *entry, uint64_t floor
        ) noexcept nogil:
    cdef known_key_t *known
    cdef peer_t *holder
    if not key_given(entry.key) or entry.attempt == 0 or entry.token >= floor:
        return False
    known = key_known(&b.adoption, entry.key)
    if known == NULL or awaits(b, known):
        return True
    holder = claim_holder(b, known)
    if holder == NULL:
        return known.token != 0  # that worker is gone, and its claim with it
    if known.token != entry.token and entry.attempt > known.attempt:
        cancel_claim(b, holder, known.token)
        return True
    return known.token == entry.token and holder == peer


cdef void adoption_claims(broker_t *b, peer_t *peer, uint32_t capacity) noexcept nogil:
    cdef uint32_t count = min(adoption_count(peer), capacity + ANSWERED_MAX)
    cdef claim_t *claims
    cdef uint32_t made = 0
    cdef holds_entry_t entry
    cdef uint64_t floor
    cdef uint8_t state
    cdef uint32_t i
    if count == 0 or b.settings.adopt_wait_ns == 0:
        return
    claims = <claim_t *> malloc(count * sizeof(claim_t))
    if claims == NULL:
        b.counters[C_NO_MEMORY] += 1
        return
    floor = disp_tokens_above(b.d, tokens_later())
    for i in range(count):
        holds_entry(peer.pnd.holds.data, i, &entry)
        state = disp_claim_state(b.d, peer.worker, entry.token)
        if state == CLAIM_OPEN or (state == CLAIM_NONE and claimable(b, peer, &entry, floor)):
            claims[made].token = entry.token
            claims[made].running = entry.state == HOLDS_RUNNING
            made += 1
    disp_claims(b.d, peer.worker, claims, made, b.now)
    act(b)
    free(claims)


cdef void adoption_match(broker_t *b, peer_t *peer) noexcept nogil:
    cdef holds_entry_t entry
    cdef uint8_t state
    cdef uint32_t i
    for i in range(adoption_count(peer)):
        holds_entry(peer.pnd.holds.data, i, &entry)
        state = disp_claim_state(b.d, peer.worker, entry.token)
        if state == CLAIM_OPEN:
            match(b, peer, &entry)
        elif state == CLAIM_ADOPTED:
            notify(b, peer, KIND_ACCEPTED, entry.token)


# match has a claim's request adopted, or notes the claim until it comes. Of two claims of one key
# the one with more attempts stays, else the first.
cdef void match(broker_t *b, peer_t *peer, const holds_entry_t *entry) noexcept nogil:
    cdef known_key_t *known = key_known(&b.adoption, entry.key)
    cdef peer_t *other = NULL
    if known != NULL and known.token == 0:
        if not awaits(b, known) or entry.token < known.run or not adopt(
                b, known, known.slot, peer, entry.token, entry.attempt):
            cancel_claim(b, peer, entry.token)
        return
    if known == NULL:
        known = key_make(b, entry.key)
    elif known.token != entry.token:
        other = claim_holder(b, known)
    if known == NULL or (other != NULL and entry.attempt <= known.attempt):
        cancel_claim(b, peer, entry.token)
        return
    if other != NULL:
        cancel_claim(b, other, known.token)
    known.token = entry.token
    known.attempt = entry.attempt


# -- the end ----------------------------------------------------------------------------------

cdef void adoption_sweep(broker_t *b) noexcept nogil:
    cdef adoption_t *a = &b.adoption
    cdef known_key_t *known
    cdef peer_t *worker
    cdef uint32_t number = a.by_age.head
    while number != NONE and a.known[number].until <= b.now:
        known = &a.known[number]
        worker = claim_holder(b, known)
        if worker != NULL:
            cancel_claim(b, worker, known.token)
        names_remove(&a.keys, known.key, KEY_SIZE)
        queue_remove(&a.by_age, age_links(a), number)
        pool_give(&a.pool, <void **> &a.known, sizeof(known_key_t), number)
        number = a.by_age.head


cdef void adoption_init(broker_t *b, uint64_t seed0, uint64_t seed1) noexcept nogil:
    names_init(&b.adoption.keys, seed0, seed1)
    pool_init(&b.adoption.pool)
    queue_init(&b.adoption.by_age)


cdef void adoption_free(broker_t *b) noexcept nogil:
    names_free(&b.adoption.keys)
    pool_free(&b.adoption.pool)
