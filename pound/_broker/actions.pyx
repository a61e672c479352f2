"""The dispatcher's actions carried out, and what else changes a peer's standing."""

from libc.stdint cimport UINT64_MAX, int64_t, uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strlen

from pound._base.array cimport array_grow
from pound._base.check cimport CHECK, POUND_CHECKS
from pound._base.hints cimport fetch
from pound._base.table cimport names_get, names_put, names_remove
from pound._dispatch.dispatcher cimport (
    ACT_CANCEL, ACT_CLIENT_FREE, ACT_FAIL, ACT_FREE, ACT_SERVICE_FREE, ACT_TASK, ACT_WORKER_FREE,
    ACT_WORKER_GONE, LIVENESS_ALWAYS, LIVENESS_IDLE, LIVENESS_NEVER, NONE, READY_NEW_LIFE,
    REQUEST_ANSWERED, action_t, disp_action, disp_actions, disp_answer_bytes, disp_blocked,
    disp_client_close, disp_client_lost, disp_client_open, disp_client_room, disp_delivered,
    disp_later, disp_service_drop, disp_service_open, disp_undeliverable, disp_unsent,
    disp_worker_gone, disp_worker_open, disp_worker_ready, request_t)
from pound._wire.dialects cimport (
    DIALECT_MDP1, DIALECT_MDP2, DIALECT_PLAIN, DIALECT_PND, DIALECT_PPP)
from pound._wire.writer cimport (
    CODE_ABORTED, CODE_CANCELLED, CODE_DATA_LOSS, CODE_DEADLINE_EXCEEDED, CODE_INTERNAL,
    CODE_NOT_FOUND, CODE_RESOURCE_EXHAUSTED, KIND_CANCEL, KIND_ERROR, load_u16, put_bye, put_error,
    put_simple, put_welcome)
from .credits cimport credits_clear
from .peers cimport (
    array_room, control_counts, item_at, item_lives, item_pop, item_push, items_clear, log_event,
    peer_beats, peer_defer, peer_release, peer_rests, peer_stalled, peer_taken, peer_task,
    peer_touch, route_dies, route_free)
from .records cimport slot_clear, stored_bytes, stored_clear, stored_fill
from .releases cimport releases_text
from .state cimport (
    ANSWER_BYTES, C_CONTROL_DROPPED, C_DEFERRED, C_FAILED_FOREIGN, C_NO_MEMORY, C_UNDELIVERABLE,
    C_UNDELIVERED_BYTES, HOLE_BAD, HOLE_UNREAD, LOG_REQUESTS_REFUSED, LOG_REQUEST_FAILED,
    LOG_REQUEST_UNANSWERABLE, LOG_WORKER_GONE, LOG_WORKER_LEFT, LOG_WORKER_READY,
    LOG_WORKER_REFUSED, LOG_WORKER_SILENT, LOST_CUT, LOST_MAX, LOST_TRIED, OWE_DISCONNECT,
    REFUSED_SESSIONS, broker_t, item_t, peer_t, route_t, service_name_t, slot_t, stored_t)
from .sweep cimport CROWDED_CLIENTS, CROWDED_WORKERS

cdef enum:
    SLOTS_MIN = 16
    FAILURE_BYTES = 320      # of a sentence that says why a request failed, a label in it
    SENTENCE_PART = 128      # of a part of it
    FETCHED_MAX = 64         # slots that are fetched before they are cleared, one after the other
    REFUSED_NS = 30_000_000_000
    DEFER_NS = 1_000_000     # after which deferred answers are due
    STALL_NS = 100_000_000   # a blocked client that read nothing for so long does not read
    READING_TIMES = 6        # those that may read: so many times undelivered_bytes_max, in all
    READING_SHARE = 4        # and never more than this part of memory_max
    LOSSES_MAX = 1024        # losses that a client is told of, whatever else waits for it
    DEFER_BYTES = 16384      # of a peer's answers: a message of that size need not grow
    CONTROL_BYTES_MAX = 1 << 18  # small records that wait for a peer


# -- the actions ------------------------------------------------------------------------------

# actions_fetch fetches the slots of actions that come together, as those do that free requests.
cdef void actions_fetch(broker_t *b) noexcept nogil:
    cdef uint32_t i
    for i in range(min(disp_actions(b.d), <uint32_t> FETCHED_MAX)):
        fetch(&b.slots[disp_later(b.d, i).slot])


cdef void act_all(broker_t *b) noexcept nogil:
    """Carry out every action that the dispatcher has queued; there are some."""
    cdef const action_t *a
    if disp_actions(b.d) > 1:
        actions_fetch(b)
    a = disp_action(b.d)
    while a != NULL:
        act_one(b, a)
        a = disp_action(b.d)


cdef void act_one(broker_t *b, const action_t *a) noexcept nogil:
    """Carry out an action; what it says is read before anything is called."""
    cdef uint32_t worker
    if a.kind == ACT_TASK:
        worker = a.peer
        # The same tick may have ended the worker, and its number is free with its last action.
        if (peer_task(b, b.worker_peer[worker], a.token, a.slot)
                and disp_unsent(b.d, a.slot, a.token)):
            disp_blocked(b.d, worker, b.now)
    elif a.kind == ACT_FREE:
        slot_clear(b, &b.slots[a.slot])
    elif a.kind == ACT_FAIL:
        # The same tick may have ended its client, and freed the request with it.
        if b.d.requests[a.slot].state == REQUEST_ANSWERED:
            fail(b, a.slot, a.code, a.peer)
    elif a.kind == ACT_CANCEL:
        if b.worker_peer[a.peer].dialect == DIALECT_PND:
            tell(b, b.worker_peer[a.peer], KIND_CANCEL, a.token)
    elif a.kind == ACT_WORKER_GONE:
        worker_silent(b, b.worker_peer[a.peer])
    elif a.kind == ACT_WORKER_FREE:
        worker_free(b, a.peer)
    elif a.kind == ACT_CLIENT_FREE:
        client_free(b, a.peer)
    elif a.kind == ACT_SERVICE_FREE:
        service_free(b, a.peer)


cdef void worker_silent(broker_t *b, peer_t *peer) noexcept nogil:
    log_event(b, LOG_WORKER_SILENT, peer, NULL, 0, 0, 0)
    peer.tasks_count = 0
    peer_rests(b, peer)


cdef void worker_free(broker_t *b, uint32_t worker) noexcept nogil:
    cdef peer_t *peer = b.worker_peer[worker]
    b.worker_peer[worker] = NULL
    peer.worker = NONE
    peer.tasks_count = 0
    credits_clear(b, peer)
    peer_rests(b, peer)
    peer_release(b, peer)


cdef void client_free(broker_t *b, uint32_t client) noexcept nogil:
    cdef peer_t *peer = b.client_peer[client]
    b.client_peer[client] = NULL
    peer.client = NONE
    items_clear(b, peer)
    peer_release(b, peer)


cdef void service_free(broker_t *b, uint32_t service) noexcept nogil:
    cdef service_name_t *s = &b.services[service]
    names_remove(&b.service_names, s.name, s.size)
    free(s.name)
    memset(s, 0, sizeof(service_name_t))


# -- answers ----------------------------------------------------------------------------------

cdef int slots_grow(broker_t *b) noexcept nogil:
    cdef size_t room = b.slots_room
    cdef size_t wanted = 2 * room if room else SLOTS_MIN
    if array_grow(<void **> &b.slots, &b.slots_block, room * sizeof(slot_t),
                  wanted * sizeof(slot_t)):
        b.counters[C_NO_MEMORY] += 1
        return -1
    memset(&b.slots[room], 0, (wanted - room) * sizeof(slot_t))
    b.slots_room = <uint32_t> wanted
    return 0


cdef int store_scratch(broker_t *b, stored_t *record) noexcept nogil:
    cdef stored_t stored
    if stored_fill(b, &stored, b.scratch.data, <uint32_t> b.scratch.size, 0):
        return -1
    stored_clear(b, record)
    record[0] = stored
    return 0


cdef void fail(broker_t *b, uint32_t slot, uint16_t code, uint32_t holder) noexcept nogil:
    """Store an ERROR as the answer of a request that no worker answered, and deliver it."""
    cdef service_name_t *service = &b.services[b.d.requests[slot].service]
    cdef char text[FAILURE_BYTES]
    cdef int size
    if b.slots[slot].hole:
        code = hole_code(b.slots[slot].hole)
    size = min(
        failure_text(b, slot, code, holder, text, sizeof(text)), <int> sizeof(text) - 1)
    b.scratch.size = 0
    if (put_error(&b.scratch, 0, code, 0, text, <uint32_t> size)
            or store_scratch(b, &b.slots[slot].record)):
        stored_clear(b, &b.slots[slot].record)
    if code != CODE_CANCELLED:
        log_event(b, LOG_REQUEST_FAILED, b.client_peer[b.d.requests[slot].client], service.name,
                  service.size, code, b.d.requests[slot].attempts)
    disp_answer_bytes(b.d, slot, b.slots[slot].record.size + ANSWER_BYTES)
    deliver(b, slot)


cdef uint16_t hole_code(uint8_t hole) noexcept nogil:
    if hole == HOLE_BAD:
        return CODE_INTERNAL
    return CODE_RESOURCE_EXHAUSTED if hole == HOLE_UNREAD else CODE_DATA_LOSS


cdef int failure_text(
        broker_t *b, uint32_t slot, uint16_t code, uint32_t holder, char *text, size_t room
        ) noexcept nogil:
    """Say why the request failed, for a person; returns the length."""
    cdef int attempts = b.d.requests[slot].attempts
    cdef int size
    if code == CODE_CANCELLED:
        return snprintf(text, room, "cancelled by the client")
    if code == CODE_DEADLINE_EXCEEDED and holder != NONE:
        return held_text(b, slot, b.worker_peer[holder], text, room)
    if code == CODE_DEADLINE_EXCEEDED:
        if b.slots[slot].record.releases:
            size = snprintf(text, room, "deadline exceeded: ")
            return size + releases_text(&b.slots[slot], text + size, room - size)
        return unserved_text(b, slot, "deadline exceeded", "now", text, room)
    if code == CODE_NOT_FOUND:
        return unserved_text(b, slot, "given up", "within the broker's service_wait", text, room)
    if code == CODE_ABORTED:
        return snprintf(text, room, "given up after %d attempts: each worker was lost%s while it "
                        "held this request", attempts, lease_words(b, slot))
    if code == CODE_INTERNAL:
        return snprintf(text, room, "a partial answer of the worker is larger than the broker "
                        "takes (body_bytes_max, frames_max)")
    if code == CODE_DATA_LOSS:
        return snprintf(text, room, "a partial answer was dropped: the broker is out of memory")
    return snprintf(text, room, "the client does not read its partial answers: too many bytes "
                    "are waiting for it (undelivered_bytes_max)")


cdef int held_text(
        broker_t *b, uint32_t slot, const peer_t *holder, char *text, size_t room) noexcept nogil:
    """Say that a worker had the request at its deadline; NULL: it has gone meanwhile."""
    cdef int attempts = b.d.requests[slot].attempts
    cdef char before[SENTENCE_PART]
    before[0] = 0
    if attempts > 1:
        snprintf(before, sizeof(before), "; %d before it %s lost%s", attempts - 1,
                 either(attempts == 2, "was", "were"), lease_words(b, slot))
    if holder == NULL:
        return snprintf(text, room, "deadline exceeded: sent to a worker (attempt %d), not "
                        "answered in time%s", attempts, before)
    return snprintf(
        text, room, "deadline exceeded: sent to worker %.*s (attempt %d), not answered in time%s",
        <int> holder.label_size, <const char *> holder.label, attempts, before)


cdef int unserved_text(
        broker_t *b, uint32_t slot, const char *what, const char *wait, char *text, size_t room
        ) noexcept nogil:
    """Say that no worker had the request at its end, and why."""
    cdef int attempts = b.d.requests[slot].attempts
    cdef unsigned int workers = b.d.services[b.d.requests[slot].service].workers
    cdef char lost[SENTENCE_PART]
    lost[0] = 0
    if attempts:
        snprintf(lost, sizeof(lost), "%d worker%s with this request %s lost%s, and ", attempts,
                 either(attempts == 1, "", "s"),
                 either(attempts == 1, "was", "were"), lease_words(b, slot))
    if workers:
        return snprintf(text, room, "%s: %sno worker was free in time (%u offer%s this service)",
                        what, lost, workers, either(workers == 1, "s", ""))
    if attempts:
        return snprintf(text, room, "%s: %sno other offers this service %s", what, lost, wait)
    return snprintf(text, room, "%s: no worker offers this service %s", what, wait)


cdef const char *either(int first, const char *this, const char *that) noexcept nogil:
    return this if first else that


# lease_words says that a worker may also have been too slow, where it may.
cdef const char *lease_words(const broker_t *b, uint32_t slot) noexcept nogil:
    if b.d.services[b.d.requests[slot].service].lease_ns:
        return " or kept it beyond its lease"
    return ""


cdef void deliver(broker_t *b, uint32_t slot) noexcept nogil:
    """Queue the answer in `slot` for its client, or account for why it can't be told.

    The dispatcher knows its size already.
    """
    cdef peer_t *peer = b.client_peer[b.d.requests[slot].client]
    cdef stored_t *record = &b.slots[slot].record
    cdef service_name_t *service = &b.services[b.d.requests[slot].service]
    if record.image == NULL:
        ask_again(peer)
        disp_undeliverable(b.d, slot)
    elif record.image[4] == KIND_ERROR and b.slots[slot].dialect != DIALECT_PND:
        b.counters[C_FAILED_FOREIGN] += 1
        log_event(b, LOG_REQUEST_UNANSWERABLE, peer, service.name, service.size,
                  load_u16(record.image + 16), 0)
        disp_undeliverable(b.d, slot)
    elif b.slots[slot].hole and b.slots[slot].dialect != DIALECT_PND:
        b.counters[C_UNDELIVERABLE] += 1  # its stream has holes, and its dialect no error
        disp_undeliverable(b.d, slot)
    elif overflows(b, peer, answer_size(b, slot)):
        deliver_loss(b, peer, slot)
    elif item_push(b, peer, slot):
        ask_again(peer)
        if b.slots[slot].dialect == DIALECT_PND:
            disp_delivered(b.d, slot)
        else:
            disp_undeliverable(b.d, slot)
    elif may_defer(b, peer, slot):
        b.counters[C_DEFERRED] += 1
        peer_defer(b, peer, DEFER_NS)
    else:
        peer_touch(b, peer)


# ask_again makes a peer for which something could not be queued ask again for all that it lacks, as
# on any WELCOME; an answer is kept until then, if there is one.
cdef void ask_again(peer_t *peer) noexcept nogil:
    if peer.route != NULL:
        peer.route.welcomed = 0


cdef uint32_t answer_size(const broker_t *b, uint32_t slot) noexcept nogil:
    """Give what an answer counts for, as the dispatcher was told."""
    cdef uint32_t bytes = b.d.requests[slot].bytes
    if POUND_CHECKS:
        CHECK(bytes == <uint32_t> stored_bytes(&b.slots[slot].record) + ANSWER_BYTES,
              "answer of slot %u: %u bytes", slot, bytes)
    return bytes


cdef int may_defer(broker_t *b, const peer_t *peer, uint32_t slot) noexcept nogil:
    """Whether an answer may wait for others, so that fewer messages carry them.

    So it is while requests of its priority or a higher one wait for the same service: its workers
    are what is short, and the next request of this client would only wait, too. No ERROR is held
    back, nor an answer that is the client's last, nor so many bytes of them that the send is worth
    its price.
    """
    cdef const request_t *answered = &b.d.requests[slot]
    return (b.d.services[answered.service].filled >> answered.priority
            and b.d.clients[answered.client].open > 0
            and peer.items_bytes < DEFER_BYTES
            and b.slots[slot].record.image[4] != KIND_ERROR)


cdef uint64_t reading_bytes(const broker_t *b, const peer_t *peer) noexcept nogil:
    """How many bytes may wait for a client that is seen to read.

    What was sent may still lie in the system's buffers: only one that was sent more than its bound
    is known to read. For those that are not, there is one allowance, whoever needs it first.
    """
    cdef uint64_t bound = b.settings.undelivered_bytes_max
    cdef uint64_t taken = peer_taken(peer)
    cdef uint64_t most = bound
    if b.counters[C_UNDELIVERED_BYTES] < READING_TIMES * bound:
        most = READING_TIMES * bound
    if taken > bound:
        most = max(most, bound + 2 * taken)
    return max(bound, min(most, b.settings.memory_max // READING_SHARE))


cdef int overflows_now(broker_t *b, peer_t *peer, uint64_t size) noexcept nogil:
    """Whether so many bytes more are too many for a client that does not read, or is away.

    One answer may always wait for it. While it is seen to read it may have more than its bound, up
    to a quarter of the memory. Once all of that is used up it has its own bound, and those that
    don't read none.
    """
    cdef uint64_t most = b.settings.undelivered_bytes_max
    if peer.route == NULL or not peer.route.alive:
        return 1
    if peer.blocked_since == 0:
        return 0
    if not b.over:
        most = reading_bytes(b, peer)
    return peer.items_bytes + size > most or peer_stalled(b, peer, STALL_NS)


cdef void deliver_loss(broker_t *b, peer_t *peer, uint32_t slot) noexcept nogil:
    """A client that does not read has too much waiting: it is told of the loss, or asks again."""
    cdef const char *text = "the answer was dropped: too many bytes waited for this client, " \
                            "which did not read (undelivered_bytes_max, memory_max)"
    b.counters[C_UNDELIVERABLE] += 1
    b.scratch.size = 0
    if (b.slots[slot].dialect != DIALECT_PND
            or (peer.items_bytes - peer.pipe_noted > 2 * b.settings.undelivered_bytes_max
                and peer.items_count > LOSSES_MAX)
            or put_error(&b.scratch, 0, CODE_DATA_LOSS, 0, text, <uint32_t> strlen(text))
            or store_scratch(b, &b.slots[slot].record)):
        ask_again(peer)
        disp_undeliverable(b.d, slot)
        return
    disp_answer_bytes(b.d, slot, b.slots[slot].record.size + ANSWER_BYTES)
    if item_push(b, peer, slot):
        ask_again(peer)
        disp_undeliverable(b.d, slot)
    else:
        peer_touch(b, peer)


cdef void items_drop(broker_t *b, peer_t *peer) noexcept nogil:
    """Give up what a client has not read for too long; when it reads, it may ask again."""
    cdef item_t *item
    ask_again(peer)
    while peer.items_count:
        item = item_at(peer, 0)
        if item.partial == NULL and item_lives(b, item):
            b.counters[C_UNDELIVERABLE] += 1
            disp_undeliverable(b.d, item.slot)
        item_pop(b, peer)
    act(b)


# -- small records ----------------------------------------------------------------------------

cdef int told(broker_t *b, peer_t *peer, int failed) noexcept nogil:
    if failed:
        b.counters[C_NO_MEMORY] += 1
        ask_again(peer)
        return -1
    peer.control_records += 1
    control_counts(b, peer)
    peer_touch(b, peer)
    return 0


# control_opens says whether one more small record may wait for the peer. Nothing that a peer is
# owed is dropped while it reads: when much waits for it, nothing more is read until that has been
# sent, and only the records of the message that is being read go beyond the bound. A peer that does
# not read asks again for all that it lacks, once it does.
cdef int control_opens(broker_t *b, peer_t *peer) noexcept nogil:
    if peer.control.size - peer.control_sent < CONTROL_BYTES_MAX and not peer.dead:
        return 1
    if not (peer.dead or peer.waits or peer.route == NULL):
        b.crammed = 1
        return 1
    b.counters[C_CONTROL_DROPPED] += 1
    ask_again(peer)
    return 0


cdef void tell(broker_t *b, peer_t *peer, uint8_t kind, uint64_t id) noexcept nogil:
    if control_opens(b, peer):
        told(b, peer, put_simple(&peer.control, kind, id))


cdef void tell_error(
        broker_t *b, peer_t *peer, uint64_t id, uint16_t code, uint32_t retry_after_ms,
        const char *text) noexcept nogil:
    if control_opens(b, peer):
        told(b, peer, put_error(
            &peer.control, id, code, retry_after_ms, text, <uint32_t> strlen(text)))


cdef void tell_bye(
        broker_t *b, peer_t *peer, uint16_t reason, uint32_t retry_after_ms) noexcept nogil:
    if control_opens(b, peer):
        told(b, peer, put_bye(&peer.control, reason, retry_after_ms))


cdef int tell_welcome(broker_t *b, peer_t *peer) noexcept nogil:
    if not control_opens(b, peer):
        return -1
    return told(b, peer, put_welcome(
        &peer.control, <uint32_t> (b.settings.heartbeat_ns // 1000000), b.settings.liveness,
        b.settings.body_bytes_max, b.settings.packet_bytes_max, b.settings.frames_max,
        b.settings.requests_max))


# -- roles ------------------------------------------------------------------------------------

cdef uint32_t client_open(broker_t *b, peer_t *peer, uint8_t reserve) noexcept nogil:
    cdef uint32_t client
    disp_client_room(b.d, b.now)
    act(b)
    if peer.client != NONE:  # of the reserve: it comes in by its next request, if there is room
        return peer.client
    if array_room(<void **> &b.client_peer, &b.clients_room, b.d.client_pool.fresh,
                  sizeof(peer_t *)):
        b.counters[C_NO_MEMORY] += 1
        return NONE
    client = disp_client_open(b.d, peer.dialect != DIALECT_PND, reserve)
    if client == NONE:
        b.crowded |= CROWDED_CLIENTS
        return NONE
    b.client_peer[client] = peer
    peer.client = client
    return client


cdef uint32_t worker_of(broker_t *b, peer_t *peer) noexcept nogil:
    cdef uint32_t worker
    cdef uint8_t mode = LIVENESS_IDLE
    cdef int64_t liveness_ns = 0
    if peer.worker != NONE:
        return peer.worker
    if array_room(<void **> &b.worker_peer, &b.workers_room, b.d.worker_pool.fresh,
                  sizeof(peer_t *)):
        b.counters[C_NO_MEMORY] += 1
        return NONE
    if peer.dialect == DIALECT_PND:
        mode = LIVENESS_ALWAYS
        liveness_ns = b.settings.heartbeat_ns * b.settings.liveness
    elif peer.dialect == DIALECT_PPP:
        liveness_ns = b.settings.ppp_heartbeat_ns * b.settings.ppp_liveness
    elif peer.dialect == DIALECT_PLAIN:
        mode = LIVENESS_NEVER
    else:
        liveness_ns = b.settings.mdp_heartbeat_ns * b.settings.mdp_liveness
    worker = disp_worker_open(b.d, mode, liveness_ns, peer.dialect == DIALECT_PND, live_now(b))
    if worker == NONE:
        b.crowded |= CROWDED_WORKERS
        return NONE
    b.worker_peer[worker] = peer
    peer.worker = worker
    return worker


cdef void worker_beats(broker_t *b, peer_t *peer) noexcept nogil:
    cdef int64_t interval_ns = worker_interval(b, peer)
    if interval_ns:
        peer_beats(b, peer, interval_ns // 2)


# worker_interval returns how often a silent worker of this dialect is sent a heartbeat; 0: never.
cdef int64_t worker_interval(broker_t *b, peer_t *peer) noexcept nogil:
    if peer.dialect == DIALECT_PND:
        return b.settings.heartbeat_ns
    if peer.dialect == DIALECT_PPP:
        return b.settings.ppp_heartbeat_ns
    if peer.dialect == DIALECT_MDP1 or peer.dialect == DIALECT_MDP2:
        return b.settings.mdp_heartbeat_ns
    return 0


cdef void foreign_ready(broker_t *b, peer_t *peer, uint32_t service, uint8_t how) noexcept nogil:
    """A foreign worker is ready for its one service, with a capacity of one task."""
    cdef int known = peer.worker != NONE and not b.d.workers[peer.worker].gone
    cdef uint32_t worker = worker_of(b, peer)
    cdef service_name_t *s = &b.services[service]
    peer.refused = worker == NONE
    if worker == NONE:
        log_event(b, LOG_WORKER_REFUSED, peer, s.name, s.size, REFUSED_SESSIONS, 0)
        return
    if not known and peer.lost != LOST_TRIED:
        log_event(b, LOG_WORKER_READY, peer, s.name, s.size, 1, peer.dialect)
    peer.owed &= <uint8_t> ~OWE_DISCONNECT
    peer.worker_service = service
    peer.capacity = 1
    disp_worker_ready(b.d, worker, 1, &service, 1, NULL, 0, how, b.now, live_now(b))
    act(b)
    if not peer.beating:
        worker_beats(b, peer)


cdef void refuse_foreign(
        broker_t *b, peer_t *peer, uint32_t counter, const uint8_t *service, size_t size,
        int64_t why) noexcept nogil:
    b.counters[counter] += 1
    if peer.refused_at == 0 or b.now - peer.refused_at >= REFUSED_NS:
        peer.refused_at = b.now
        log_event(b, LOG_REQUESTS_REFUSED, peer, service, size, why, 0)


# -- services ---------------------------------------------------------------------------------

cdef uint32_t service_find(broker_t *b, const uint8_t *name, uint32_t size) noexcept nogil:
    if size == 0:
        return b.default_service
    return names_get(&b.service_names, name, size)


cdef uint32_t service_named(
        broker_t *b, const uint8_t *name, uint32_t size, int64_t lease_ns, uint8_t how,
        uint32_t client) noexcept nogil:
    cdef uint32_t service = service_find(b, name, size)
    cdef service_name_t *s
    cdef uint8_t *copy
    if service != NONE:
        return service
    copy = <uint8_t *> malloc(size if size else 1)
    if copy == NULL or array_room(<void **> &b.services, &b.services_room,
                                  b.d.service_pool.fresh, sizeof(service_name_t)):
        b.counters[C_NO_MEMORY] += 1
        free(copy)
        return NONE
    memcpy(copy, name, size)
    service = disp_service_open(b.d, lease_ns, how, b.now, client)
    if service == NONE:
        free(copy)
        return NONE
    s = &b.services[service]
    memset(s, 0, sizeof(service_name_t))
    s.name = copy
    s.size = size
    s.open = 1
    if service >= b.services_count:
        b.services_count = service + 1
    if names_put(&b.service_names, copy, size, service):
        b.counters[C_NO_MEMORY] += 1
        disp_service_drop(b.d, service)
        act(b)
        return NONE
    return service


# -- peers that go, and some that come back ---------------------------------------------------

cdef void route_lost(broker_t *b, route_t *route) noexcept nogil:
    """The route's connection is closed, and every message that came by it has been read."""
    cdef peer_t *peer = route.peer
    route_dies(b, route)
    if peer == NULL or peer.dialect == DIALECT_PND:
        route_free(b, route)
        if peer == NULL:
            return
        if peer.route != NULL:
            peer_touch(b, peer)
            return
    if peer.worker != NONE:
        worker_lost(b, peer, route)
    if peer.client != NONE:
        peer.cut_at = b.now
        if peer.dialect == DIALECT_PND or route.explicit_id:
            disp_client_lost(b.d, peer.client, b.settings.client_grace_ns, b.now)
        else:
            disp_client_close(b.d, peer.client, b.now)
        act(b)
    peer_release(b, peer)


cdef void worker_lost(broker_t *b, peer_t *peer, route_t *route) noexcept nogil:
    """The worker's last route is closed: its tasks return."""
    cdef uint32_t held = b.d.workers[peer.worker].held
    if peer.lost:
        peer.lost = LOST_CUT
        if held:  # it was back, and is gone again: perhaps, so cut_at stays as it is
            log_event(b, LOG_WORKER_GONE, peer, NULL, 0, held, peer.dialect)
    elif not b.d.workers[peer.worker].gone:
        log_event(b, LOG_WORKER_LEFT if b.d.workers[peer.worker].leaving else LOG_WORKER_GONE,
                  peer, NULL, 0, held, peer.dialect)
    if (not peer.lost and peer.dialect == DIALECT_PLAIN and route.explicit_id and held == 0
            and not b.d.workers[peer.worker].gone):
        lost_note(b, peer)
    peer.tasks_count = 0
    peer_rests(b, peer)
    disp_worker_gone(b.d, peer.worker, b.now)
    act(b)


cdef void session_end(broker_t *b, peer_t *peer) noexcept nogil:
    """The peer's session ends at once in both roles, as by BYE."""
    if peer.worker != NONE:
        peer.tasks_count = 0
        peer_rests(b, peer)
        disp_worker_gone(b.d, peer.worker, b.now)
        act(b)
    if peer.client != NONE:
        disp_client_close(b.d, peer.client, b.now)
        act(b)


cdef void lost_note(broker_t *b, peer_t *peer) noexcept nogil:
    """Remember an idle REQ worker that may reconnect under its id without a word."""
    cdef peer_t *oldest
    if b.lost_count == LOST_MAX:
        oldest = b.lost[0]
        lost_forget(b, oldest)
        peer_release(b, oldest)
    peer.lost = LOST_CUT
    peer.cut_at = b.now
    peer.not_before = 0
    CHECK(b.lost_count < LOST_MAX, "%u lost workers", b.lost_count)
    b.lost[b.lost_count] = peer
    b.lost_count += 1


cdef void lost_forget(broker_t *b, peer_t *peer) noexcept nogil:
    """The worker has spoken, or its place is needed."""
    cdef uint32_t i = 0
    while b.lost[i] != peer:
        i += 1
    b.lost_count -= 1
    while i < b.lost_count:
        b.lost[i] = b.lost[i + 1]
        i += 1
    peer.lost = 0


cdef void lost_seek(broker_t *b) noexcept nogil:
    """Take lost workers for ready if a task waits for them: sending it tells the truth."""
    cdef uint32_t i
    cdef peer_t *peer
    b.seek_lost = 0
    for i in range(b.lost_count):
        peer = b.lost[i]
        if (peer.lost == LOST_CUT and b.now >= peer.not_before
                and b.d.services[peer.worker_service].waiting):
            peer.lost = LOST_TRIED
            peer.tried_at = b.lost_tried_at = b.now
            peer.tried_order = UINT64_MAX  # until it was sent its task
            peer.route.alive = 1
            foreign_ready(b, peer, peer.worker_service, READY_NEW_LIFE)
            if peer.worker == NONE:
                peer.lost = LOST_CUT
                peer.route.alive = 0
