"""The end of a turn: what waits for each touched peer is sent (see flush.pxd for the rules)."""

from libc.errno cimport EHOSTUNREACH
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from pound._base.array cimport LINE
from pound._base.buffer cimport buffer_free
from pound._base.check cimport CHECK
from pound._base.hints cimport fetch, unlikely
from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport (
    disp_blocked, disp_deadline, disp_delivered, disp_sent, disp_unsent)
from pound._wire.codes cimport CODE_UNIMPLEMENTED
from pound._wire.dialects cimport (
    DIALECT_PND, HEAD_ANSWER, HEAD_DISCONNECT, HEAD_HEARTBEAT, HEAD_MAX, HEAD_PARTIAL, HEAD_TASK,
    TOKEN_DIGITS, dialect_head, frame_t)
from pound._wire.packets cimport (
    FLAG_ATTACHED, FLAG_META, KIND_HEARTBEAT, KIND_PARTIAL, KIND_REQUEST, NAMED_SIZE,
    PACKET_RECORDS_MAX, PARTIAL_SIZE, RECORD_SIZE, record_to_reply, record_to_task, load_u16,
    load_u32, packet_begin, packet_end, part_next, part_t, put_error, put_record, put_simple)
from pound._zmq.libzmq cimport ZMQ_DONTWAIT, ZMQ_SNDMORE, zmq
from pound._zmq.pipes cimport COUNTED_FROM, FRAME_BYTES, pipe_bytes, pipe_count, pipe_new
from .actions cimport act
from .credits cimport credit_grant_stored, credits_drop, credits_put
from .delivery cimport items_drop
from .departures cimport route_lost
from .kinds cimport (
    C_BYTES_OUT, C_DISCONNECTS, C_MESSAGES_OUT, C_NO_MEMORY, C_SENDS_BLOCKED, C_SENDS_UNREACHABLE)
from .outgoing cimport outgoing_end, outgoing_put, outgoing_share, outgoing_t
from .queues cimport (
    control_counts, item_at, item_lives, item_pop, item_record, peer_block, peer_stalled,
    peer_touch, peer_unblock)
from .records cimport stored_attached, stored_bytes
from .state cimport (
    FORM_DELIMITED, FORM_WORKER_NUMBERS, OWE_DISCONNECT, OWE_HEARTBEAT, broker_t, item_t, peer_t,
    route_t, service_name_t, slot_t, stored_t, unsent_t)

cdef enum:
    AHEAD = 8                # a record is fetched so many steps before it is packed
    CONTROL_RECORDS_MAX = PACKET_RECORDS_MAX - 1  # and a HEARTBEAT
    CONTROL_ROOM_KEPT = 1 << 19  # of a peer's small records

cdef struct load_t:          # one packet on its way
    uint32_t records
    uint32_t attached
    uint64_t attached_bytes
    uint32_t tasks           # one past the last of the peer's tasks that it carries
    uint32_t items           # how many of the client's items it carries
    uint32_t control         # how many of its small records it carries
    size_t control_bytes     # of them
    uint32_t credits         # how many of the worker's credits were looked at
    uint8_t starved          # there was no memory for more


# -- who is due -------------------------------------------------------------------------------

cdef void flush(broker_t *b) noexcept nogil:
    cdef peer_t *peer
    while b.pending.dirty != NULL:
        peer = b.pending.dirty
        b.pending.dirty = peer.next_dirty
        peer.dirty = 0
        if peer.dead:
            continue
        if peer.blocked.waits and peer.blocked.retry_at > b.now:
            tasks_undo(b, peer)
        elif peer.route == NULL or not peer.route.alive:
            control_forget(b, peer)
            peer.control.owed = 0
        elif peer.dialect == DIALECT_PND:
            flush_packets(b, peer)
        else:
            flush_guide(b, peer)


cdef void flush_blocked(broker_t *b) noexcept nogil:
    cdef peer_t *peer = b.pending.blocked
    while peer != NULL and peer.blocked.retry_at <= b.now:
        b.pending.blocked = peer.blocked.next
        peer.blocked.waits = 0
        if not peer.dead:
            if (peer.blocked.since and b.now - peer.blocked.since > b.settings.client_grace_ns
                    and peer_stalled(b, peer, b.settings.client_grace_ns)):
                items_drop(b, peer)
                act(b)
            peer_touch(b, peer)
        peer = b.pending.blocked


cdef void flush_deferred(broker_t *b, int64_t until) noexcept nogil:
    cdef peer_t *peer = b.pending.deferred
    while peer != NULL and peer.deferral.until <= until:
        b.pending.deferred = peer.deferral.next
        peer.deferred = 0
        if peer.items_count:
            peer_touch(b, peer)
        peer = b.pending.deferred


# tasks_undo gives back what was dispatched to a worker that can't be sent to; it is left out of
# the dispatch until it speaks or the dispatcher's block_ns pass.
cdef void tasks_undo(broker_t *b, peer_t *peer) noexcept nogil:
    if peer.tasks.count == 0:
        return
    peer.tasks.count = 0
    if peer.worker != NONE:
        disp_blocked(b.d, peer.worker, b.now)
        act(b)


cdef void refused(broker_t *b, peer_t *peer, sent_t how) noexcept nogil:
    """A send to the peer was refused: undo its tasks, keep its answers.

    A route that is closing is given up once its last messages are read, and not before.
    """
    peer.control.owed &= <uint8_t> ~OWE_HEARTBEAT
    if how == BLOCKED:
        b.counters[C_SENDS_BLOCKED] += 1
        peer_block(b, peer, RETRY_NS)
        tasks_undo(b, peer)
    else:
        b.counters[C_SENDS_UNREACHABLE] += 1
        peer.control.owed = 0
        tasks_undo(b, peer)
        if not peer.route.closing:
            route_lost(b, peer.route)


# -- frames -----------------------------------------------------------------------------------

cdef sent_t send_route(broker_t *b, route_t *route) noexcept nogil:
    """Begin a message to the route: only here can it be refused."""
    b.sides[route.side].readable = 1
    if zmq.send(b.sides[route.side].socket, route.id, route.size,
                ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0:
        b.counters[C_MESSAGES_OUT] += 1
        if route.peer != NULL:
            route.peer.heartbeat.sent_to = 1
        return SENT
    return UNREACHABLE if zmq.errnum() == EHOSTUNREACH else BLOCKED


# pipe_counts has a message of `size` bytes counted in its peer's pipe: 0, or -1: no memory.
cdef int pipe_counts(broker_t *b, peer_t *peer, outgoing_t *m, uint64_t size) noexcept nogil:
    if peer.reading.pipe == NULL:
        peer.reading.pipe = pipe_new(b.pipes)
    if peer.reading.pipe == NULL:
        return -1
    return pipe_count(peer.reading.pipe, &m.frames[m.count - 1], <int64_t> size)


# shares says whether a route's peer may be in this process: what it was sent it need not copy, and
# may keep for as long as it likes, read as it is.
cdef bint shares(const broker_t *b, const route_t *route) noexcept nogil:
    return route.fd < 0 and b.sides[route.side].is_inproc


cdef sent_t send_within(broker_t *b, route_t *route, outgoing_t *m, uint64_t size) noexcept nogil:
    """Begin a message of `size` bytes, if its peer's pipe does not hold too many as it is."""
    cdef peer_t *peer = route.peer
    cdef bint counted
    cdef sent_t how
    size += m.count * FRAME_BYTES
    counted = peer != NULL and size >= COUNTED_FROM and not shares(b, route)
    if peer != NULL and pipe_bytes(peer.reading.pipe) > <int64_t> b.settings.undelivered_bytes_max:
        return BLOCKED
    if counted and pipe_counts(b, peer, m, size):
        b.counters[C_NO_MEMORY] += 1
        return BLOCKED
    how = send_route(b, route)
    if counted and how == SENT:
        peer.reading.piped += size
    return how


cdef sent_t send_outgoing(broker_t *b, route_t *route) noexcept nogil:
    """Send the message that was put together, or nothing of it."""
    cdef outgoing_t *m = &b.outbound.message
    cdef void *socket = b.sides[route.side].socket
    cdef sent_t how = BLOCKED
    cdef uint64_t size = 0
    cdef uint32_t i
    for i in range(m.count):
        size += zmq.msg_size(&m.frames[i])
    if unlikely(m.starved):
        b.counters[C_NO_MEMORY] += 1
    else:
        how = send_within(b, route, m, size)
    if how == SENT:
        b.counters[C_BYTES_OUT] += size
    for i in range(m.count):
        if how == SENT:
            zmq.msg_send(&m.frames[i], socket,
                         ZMQ_DONTWAIT | (ZMQ_SNDMORE if i + 1 < m.count else 0))
        zmq.msg_close(&m.frames[i])
    outgoing_end(m)
    return how


# -- PND --------------------------------------------------------------------------------------

cdef void flush_packets(broker_t *b, peer_t *peer) noexcept nogil:
    """Send all that waits for a PND peer, packet after packet."""
    cdef load_t load
    cdef sent_t how
    cdef uint32_t first_task = 0
    if peer.tasks.count and not peer.route.ready:
        tasks_undo(b, peer)
    while True:
        load_begin(b, peer, &load, first_task)
        if not load.starved:
            load_tasks(b, peer, &load)
            load_items(b, peer, &load)
        if load.records == 0 and load.starved:
            refused(b, peer, BLOCKED)
            return
        if load.records == 0:
            peer.tasks.count = 0
            items_forget(b, peer, load.items)
            credits_drop(b, peer, load.credits)
            return
        packet_end(&b.outbound.packet, load.records)
        how = send_packet(b, peer.route, load.attached)
        if how != SENT:
            refused(b, peer, how)
            return
        load_sent(b, peer, &load, first_task)
        first_task = load.tasks


cdef void load_begin(
        broker_t *b, peer_t *peer, load_t *load, uint32_t first_task) noexcept nogil:
    """Begin a packet with the peer's small records."""
    load.records = load.attached = load.items = 0
    load.attached_bytes = 0
    load.tasks = first_task
    load.starved = load.credits = 0
    control_measure(b, peer, load)
    if packet_begin(&b.outbound.packet, b.epoch, 0) or (load.control and put_record(
            &b.outbound.packet, peer.control.records.data + peer.control.sent,
            <uint32_t> load.control_bytes) == NULL):
        b.counters[C_NO_MEMORY] += 1
        load.starved = 1
        return
    load.records = load.control
    if peer.control.owed & OWE_HEARTBEAT:
        load.records += put_simple(&b.outbound.packet, KIND_HEARTBEAT, 0) == 0
        peer.control.owed &= <uint8_t> ~OWE_HEARTBEAT
    if unlikely(peer.credits.head != NONE):
        load.records += credits_put(b, peer, load.records, &load.credits, &load.starved)


cdef void control_measure(broker_t *b, const peer_t *peer, load_t *load) noexcept nogil:
    """Count the small records that go into one packet: all, as a rule."""
    cdef const uint8_t *at = peer.control.records.data + peer.control.sent
    cdef size_t left = peer.control.records.size - peer.control.sent
    load.control = peer.control.count
    load.control_bytes = left
    if left <= b.settings.packet_bytes_max and load.control <= CONTROL_RECORDS_MAX:
        return
    load.control = 0
    load.control_bytes = 0
    while (load.control < min(peer.control.count, <uint32_t> CONTROL_RECORDS_MAX) and (
            load.control == 0
            or load.control_bytes + load_u32(at) <= b.settings.packet_bytes_max)):
        load.control += 1
        load.control_bytes += load_u32(at)
        at += load_u32(at)


cdef void control_leaves(broker_t *b, peer_t *peer, const load_t *load) noexcept nogil:
    """What a packet carried is with libzmq; an empty buffer does not stay large."""
    peer.control.sent += load.control_bytes
    peer.control.count -= load.control
    if peer.control.count == 0:
        control_forget(b, peer)


cdef void control_forget(broker_t *b, peer_t *peer) noexcept nogil:
    peer.control.records.size = peer.control.sent = peer.control.count = 0
    if peer.control.records.room > CONTROL_ROOM_KEPT:
        buffer_free(&peer.control.records)
    control_counts(b, peer)


# items_forget drops the first items, whose requests are gone.
cdef void items_forget(broker_t *b, peer_t *peer, uint32_t count) noexcept nogil:
    cdef uint32_t _
    for _ in range(count):
        item_pop(b, peer)


# load_put appends a stored record to the packet and returns its place there;
# NULL: the packet is full (a record that's too large for any packet travels alone).
cdef inline uint8_t *load_put(broker_t *b, load_t *load, stored_t *record) noexcept nogil:
    cdef uint8_t *record_bytes
    cdef uint32_t i
    cdef uint64_t attached_bytes = 0
    if load.records and (
            b.outbound.packet.size + record.size > b.settings.packet_bytes_max
            or load.attached + record.attached + 1 > b.settings.frames_max
            or load.records == PACKET_RECORDS_MAX):
        return NULL
    if record.attached:  # libzmq frees a message whole: one should not fill the pipe many times
        attached_bytes = stored_bytes(record) - record.size
        if (load.attached
                and load.attached_bytes + attached_bytes > b.settings.undelivered_bytes_max):
            return NULL
    record_bytes = put_record(&b.outbound.packet, record.bytes, record.size)
    if record_bytes == NULL:
        b.counters[C_NO_MEMORY] += 1
        load.starved = 1
        return NULL
    if record.attached:  # they came in one message: within frames_max, as all of a packet's are
        CHECK(load.attached + record.attached <= b.incoming.room, "%u frames behind a packet",
              <unsigned int> (load.attached + record.attached))
        for i in range(record.attached):
            b.outbound.attached[load.attached] = &stored_attached(record)[i]
            load.attached += 1
        load.attached_bytes += attached_bytes
    load.records += 1
    return record_bytes


# slot_fetch fetches a request; record_fetch then what is stored under it, or a partial.
cdef void slot_fetch(broker_t *b, uint32_t slot) noexcept nogil:
    fetch(&b.d.requests[slot])
    fetch(&b.slots[slot])


cdef void record_fetch(const stored_t *record) noexcept nogil:
    if record.bytes != NULL:
        fetch(record.bytes)
        fetch(record.bytes + LINE)


cdef void load_tasks(broker_t *b, peer_t *peer, load_t *load) noexcept nogil:
    cdef unsent_t *task
    cdef uint8_t *record_bytes
    cdef int64_t remaining
    while load.tasks < peer.tasks.count:
        task = &peer.tasks.at[load.tasks]
        if load.tasks + AHEAD < peer.tasks.count:
            slot_fetch(b, task[AHEAD].slot)
            fetch(&b.d.tasks[b.d.requests[task[AHEAD // 2].slot].task])
            record_fetch(&b.slots[task[AHEAD // 2].slot].record)
        if disp_unsent(b.d, task.slot, task.token):
            record_bytes = load_put(b, load, &b.slots[task.slot].record)
            if record_bytes == NULL:
                return
            remaining = disp_deadline(b.d, task.slot)
            if remaining:
                remaining = (remaining - b.now) // 1000000
                remaining = remaining if remaining > 0 else 1
            record_to_task(record_bytes, task.token, <uint32_t> remaining,
                           <uint8_t> (b.d.requests[task.slot].attempts + 1))
        load.tasks += 1


cdef void load_items(broker_t *b, peer_t *peer, load_t *load) noexcept nogil:
    cdef item_t *item
    cdef uint8_t *record_bytes
    if load.tasks < peer.tasks.count:
        return
    while load.items < peer.items_count:
        item = item_at(peer, load.items)
        if load.items + AHEAD < peer.items_count:
            slot_fetch(b, item_at(peer, load.items + AHEAD).slot)
            record_fetch(item_record(b, item_at(peer, load.items + AHEAD // 2)))
        if item_lives(b, item):
            record_bytes = load_put(b, load, item_record(b, item))
            if record_bytes == NULL:
                return
            record_to_reply(record_bytes, b.d.requests[item.slot].id)
        load.items += 1


cdef void load_sent(
        broker_t *b, peer_t *peer, load_t *load, uint32_t first_task) noexcept nogil:
    """The packet is with libzmq: attempts count, answers are delivered."""
    cdef uint32_t i, _
    peer_unblock(peer)
    if load.control:
        control_leaves(b, peer, load)
    credits_drop(b, peer, load.credits)
    for i in range(first_task, load.tasks):
        disp_sent(b.d, peer.tasks.at[i].slot, peer.tasks.at[i].token, b.now)
    for _ in range(load.items):
        item_sent(b, peer)
    act(b)


cdef sent_t send_packet(broker_t *b, route_t *route, uint32_t attached) noexcept nogil:
    cdef uint32_t i
    outgoing_put(&b.outbound.message, b.outbound.packet.data, b.outbound.packet.size)
    for i in range(attached):
        outgoing_share(&b.outbound.message, b.outbound.attached[i])
    return send_outgoing(b, route)


cdef void send_version(broker_t *b, route_t *route) noexcept nogil:
    cdef const char *text = b"this broker speaks PND version 1"
    if (packet_begin(&b.outbound.packet, b.epoch, 0) == 0
            and put_error(&b.outbound.packet, 0, CODE_UNIMPLEMENTED, 0, text, 32) == 0):
        packet_end(&b.outbound.packet, 1)
        send_packet(b, route, 0)


# -- the Guide's dialects ---------------------------------------------------------------------

cdef void flush_guide(broker_t *b, peer_t *peer) noexcept nogil:
    """Send all that waits for a Guide peer, one message for each."""
    cdef sent_t how = flush_owed(b, peer)
    cdef uint32_t i
    if how == SENT:
        for i in range(peer.tasks.count):
            how = send_task(b, peer, &peer.tasks.at[i])
            if how != SENT:
                break
    if how == SENT:
        peer.tasks.count = 0
        while peer.items_count and how == SENT:
            how = send_item(b, peer, item_at(peer, 0))
            if how == SENT:
                item_sent(b, peer)
    if how != SENT:
        refused(b, peer, how)
    else:
        peer_unblock(peer)
    act(b)


cdef inline void item_sent(broker_t *b, peer_t *peer) noexcept nogil:
    cdef item_t *item = item_at(peer, 0)
    if item_lives(b, item):
        if item.partial == NULL:
            disp_delivered(b.d, item.slot)
        elif peer.dialect != DIALECT_PND:
            credit_grant_stored(b, item.slot, item.partial)
    item_pop(b, peer)


cdef sent_t flush_owed(broker_t *b, peer_t *peer) noexcept nogil:
    """Send a worker a heartbeat, or that it is not known."""
    cdef sent_t how = SENT
    if peer.control.owed & OWE_DISCONNECT:
        how = send_short(b, peer, HEAD_DISCONNECT)
        b.counters[C_DISCONNECTS] += how == SENT
    elif peer.control.owed & OWE_HEARTBEAT and peer.tasks.count == 0:
        how = send_short(b, peer, HEAD_HEARTBEAT)
    if how == SENT:
        peer.control.owed = 0
    return how


cdef sent_t send_short(broker_t *b, peer_t *peer, uint8_t what) noexcept nogil:
    """Send a message that is a head and nothing else."""
    cdef frame_t head[HEAD_MAX]
    cdef uint8_t digits[TOKEN_DIGITS]
    cdef uint32_t i
    cdef uint32_t n = dialect_head(
        peer.dialect, what, peer.guide.delimited, peer.guide.text, 0, NULL, 0, digits, head)
    if n == 0:
        return SENT
    for i in range(n):
        outgoing_put(&b.outbound.message, head[i].data, head[i].size)
    return send_outgoing(b, peer.route)


cdef sent_t send_task(broker_t *b, peer_t *peer, unsent_t *task) noexcept nogil:
    cdef frame_t head[HEAD_MAX]
    cdef uint8_t digits[TOKEN_DIGITS]
    cdef uint32_t n, i
    cdef sent_t how
    if not disp_unsent(b.d, task.slot, task.token):
        return SENT
    n = dialect_head(
        peer.dialect, HEAD_TASK, peer.guide.delimited, peer.guide.text, task.token, NULL, 0, digits,
        head)
    for i in range(n):
        outgoing_put(&b.outbound.message, head[i].data, head[i].size)
    stage_body(b, &b.slots[task.slot].record)
    how = send_outgoing(b, peer.route)
    if how == SENT:
        disp_sent(b.d, task.slot, task.token, b.now)
    return how


cdef sent_t send_item(broker_t *b, peer_t *peer, item_t *item) noexcept nogil:
    """Send an answer or a partial behind its client's envelope."""
    cdef frame_t head[HEAD_MAX]
    cdef uint8_t digits[TOKEN_DIGITS]
    cdef slot_t *slot = &b.slots[item.slot]
    cdef service_name_t *service
    cdef uint32_t n, i
    if not item_lives(b, item):
        return SENT
    service = &b.services.at[b.d.requests[item.slot].service]
    n = dialect_head(
        slot.dialect, HEAD_ANSWER if item.partial == NULL else HEAD_PARTIAL, 0,
        slot.form & FORM_WORKER_NUMBERS, 0, service.name, service.size, digits, head)
    stage_envelope(b, slot)
    for i in range(n):
        outgoing_put(&b.outbound.message, head[i].data, head[i].size)
    stage_body(b, item_record(b, item))
    return send_outgoing(b, peer.route)


cdef void stage_envelope(broker_t *b, slot_t *slot) noexcept nogil:
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef part_t part
    if slot.envelope == NULL:
        if slot.form & FORM_DELIMITED:
            outgoing_put(&b.outbound.message, b"", 0)
        return
    at = slot.envelope.parts
    end = at + slot.envelope.size
    while part_next(&at, end, &part):
        outgoing_put(&b.outbound.message, part.data, part.size)


cdef void stage_body(broker_t *b, stored_t *record) noexcept nogil:
    """Add the parts of a stored record as the last frames of a message: at least one."""
    cdef const uint8_t *at = record.bytes + RECORD_SIZE
    cdef const uint8_t *end = record.bytes + record.size
    cdef uint32_t parts = load_u16(record.bytes + 6)
    cdef uint32_t skip = 1 if record.bytes[5] & FLAG_META else 0
    cdef uint32_t i
    cdef part_t part
    part.data = NULL
    part.size = 0
    if parts == skip:
        outgoing_put(&b.outbound.message, b"", 0)
    elif record.bytes[5] & FLAG_ATTACHED:
        for i in range(skip, parts):
            outgoing_share(&b.outbound.message, &stored_attached(record)[i])
    else:
        if record.bytes[4] == KIND_REQUEST:
            at += NAMED_SIZE + load_u16(at + 6)
        elif record.bytes[4] == KIND_PARTIAL:
            at += PARTIAL_SIZE
        for i in range(parts):
            part_next(&at, end, &part)
            if i >= skip:
                outgoing_put(&b.outbound.message, part.data, part.size)
