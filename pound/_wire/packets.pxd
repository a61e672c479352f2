# PND/1: a packet in, records out; records in, a packet out. docs/protocol.md is the specification,
# the error codes are in codes.pxd.
#
# Reading:   packet_open checks the framing of a whole packet before any of its records acts;
#            packet_next then walks the records and trusts what was checked.
# Invariant: after WIRE_OK every pointer of packet_t and record_t lies inside the packet's frame,
#            and the records claim exactly the attached frames that came with it. Values (names,
#            priority, capacity, codes) are not checked here: they are their reader's business.
#            What the writers append is sound framing if the caller fills each body with as many
#            parts as it announced and closes the packet with packet_end.
# Cost:      reading is one pass of packet_open and one of packet_next: O(records + inline parts),
#            no allocation. Writing is O(bytes written); a packet's buffer is reused, so no
#            allocation once it is warm. Compilers make one move of each load and store.
# Memory:    packet_t and record_t borrow the frame. Writers fill a buffer_t of the caller; a
#            pointer that a writer returns is good until the next write to that buffer.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from pound._base.array cimport LINE
from pound._base.buffer cimport buffer_extend, buffer_t
from pound._base.hints cimport fetch

cdef enum:
    HEADER_SIZE = 32         # bytes before the first record
    RECORD_SIZE = 16         # bytes of a record before its head
    SESSION_SIZE = 16        # bytes
    KEY_SIZE = 16            # bytes
    NAMED_SIZE = 24          # bytes of the head of a REQUEST or TASK before the service's name
    DURABLE_SIZE = 4         # bytes that DURABLE adds to a head: delay_ms
    RUN_SIZE = 8             # bytes that MOVED adds to a head
    PARTIAL_SIZE = 16        # bytes of the head of a PARTIAL
    CREDIT_SIZE = 24         # bytes of the head of a CREDIT
    HELLO_SIZE = 4           # bytes of the head of a HELLO
    WELCOME_SIZE = 28        # bytes of the head of a WELCOME
    READY_SIZE = 28          # bytes of the head of a READY before its tokens
    HOLDS_SIZE = 8           # bytes of the head of a HOLDS before its entries
    HOLDS_ENTRY_SIZE = 32    # bytes
    PACKET_RECORDS_MAX = 65535  # the header's count is a u16
    PART_ATTACHED_FROM = 4096  # bytes; below, a copy is cheaper than a frame of its own
    SERVICE_BYTES_MAX = 255  # a longer name is a wrong value, not broken framing
    STREAM_FIRST = 65536     # what a task's partials may cost in all before its first CREDIT
    PARTIAL_COST = 64        # of a partial and of each of its parts, beside their bytes

cdef enum kind_t:
    KIND_REQUEST = 1
    KIND_CANCEL
    KIND_REPLY
    KIND_PARTIAL
    KIND_ERROR
    KIND_ACCEPTED
    KIND_READY
    KIND_TASK
    KIND_HEARTBEAT
    KIND_BYE
    KIND_HELLO
    KIND_WELCOME
    KIND_HOLDS
    KIND_CREDIT
    KIND_END                 # one above the last kind

cdef enum flag_t:
    FLAG_ATTACHED = 1        # the body is in attached frames
    FLAG_DURABLE = 2         # to be stored; the head ends with a delay
    FLAG_RETRY = 4           # sent before, as far as the sender knows
    FLAG_META = 8            # part 0 is metadata for the two ends
    FLAG_MOVED = 16          # sent in another epoch before; the head ends with a run

cdef enum bye_t:
    BYE_UNKNOWN = 0          # "you are unknown to me": HELLO or READY again
    BYE_GOING = 1            # going away: another endpoint, or again after retry_after_ms
    BYE_AGREED = 2           # the answer to a worker's BYE

cdef enum feature_t:         # bits of HELLO, READY and WELCOME; unknown ones mean nothing
    FEATURE_ADOPTION = 1     # of a worker: its tasks outlive an epoch; of a broker: it adopts them
    FEATURE_DURABLE = 2      # of a broker: it has a store

cdef enum holds_t:           # the state of a task in HOLDS
    HOLDS_RUNNING = 0
    HOLDS_ANSWERED = 1

cdef enum:
    FETCH_AHEAD = 4 * LINE   # of what another thread has just written
    FLAGS_ALL = FLAG_ATTACHED | FLAG_DURABLE | FLAG_RETRY | FLAG_META | FLAG_MOVED

cdef enum wire_error:
    WIRE_OK = 0
    WIRE_SHORT               # fewer bytes than the header, or the count of records, asks for
    WIRE_MAGIC               # does not start with "PND"
    WIRE_VERSION             # "PND", but not version 1
    WIRE_RESERVED            # a reserved byte is not 0
    WIRE_COUNT               # no record, or bytes after the last one
    WIRE_SIZE                # a record smaller than its fixed part or larger than the packet
    WIRE_FLAGS               # a flag that does not exist, or not for this kind
    WIRE_HEAD                # the head does not fit into its record
    WIRE_PARTS               # the parts do not fill their record, or are none where some must be
    WIRE_FRAMES              # attached frames claimed and received differ


cdef struct packet_t:
    const uint8_t *session   # SESSION_SIZE bytes, inside the frame
    uint64_t done            # from a client: every request id below it is finished
    uint32_t records         # as the header says
    const uint8_t *at        # the next record; after a failed packet_open: where it failed
    const uint8_t *end       # one past the frame's last byte
    uint32_t attached        # attached frames claimed so far
    uint16_t filled          # 1 + the kind of the record that packet_next read last; 0: none


cdef struct record_t:        # pointers go into the packet's frame
    const uint8_t *bytes     # the whole record, `size` bytes: what the broker stores and relays
    uint32_t size            # bytes
    uint8_t kind             # kind_t, or a kind that this version does not know
    uint8_t flags            # flag_t
    uint16_t parts           # body parts
    uint64_t id              # request id or token
    uint32_t attached        # with ATTACHED: first attached frame, 0 = the one after the packet
    const uint8_t *body      # inline parts; NULL when attached or none
    uint32_t body_size       # bytes of `body`, the parts' lengths included
    # the head, by kind; 0 or NULL where the kind has no such field
    uint32_t timeout_ms      # REQUEST: timeout, 0 = none; TASK: what remains
    uint8_t priority         # REQUEST, TASK: 0..9
    uint8_t attempt          # TASK, PARTIAL: from 1
    uint16_t service_size    # bytes
    const uint8_t *key       # REQUEST, TASK: KEY_SIZE bytes; all 0: none
    const uint8_t *service   # REQUEST, TASK
    uint32_t delay_ms        # with DURABLE
    uint64_t run             # of PARTIAL, CREDIT: a task's token; with MOVED: the last seen, or 0
    uint32_t sequence        # PARTIAL: from 0 in each run; CREDIT: of the next one wanted
    uint16_t code            # ERROR: code_t; BYE: bye_t
    uint32_t retry_after_ms  # ERROR, BYE
    uint32_t capacity        # READY
    uint32_t tokens          # READY: how many tokens the worker holds
    const uint8_t *token_list  # READY: tokens x u64; read one with load_u64
    uint32_t features        # HELLO, READY, WELCOME: feature_t
    const uint8_t *epoch     # READY: SESSION_SIZE bytes, whose tokens these are; all 0: none
    const uint8_t *holds_list  # HOLDS: its entries; read one with holds_entry
    uint32_t holds           # HOLDS: how many entries
    uint32_t heartbeat_ms    # WELCOME, this and the five below
    uint32_t liveness
    uint32_t body_bytes_max
    uint32_t packet_bytes_max
    uint32_t frames_max
    uint32_t requests_max
    uint64_t credit          # CREDIT: what the run's partials may cost in all


cdef struct part_t:
    const uint8_t *data      # inside the packet's frame
    uint32_t size            # bytes


cdef struct holds_entry_t:   # a task that a worker kept from an earlier epoch
    uint64_t token           # of that epoch
    const uint8_t *key       # KEY_SIZE bytes, of its request
    uint8_t attempt
    uint8_t state            # holds_t


# --- integers -------------------------------------------------------------------------------

# Little-endian integers at any address, on any machine.
cdef inline uint16_t load_u16(const uint8_t *p) noexcept nogil:
    return <uint16_t>(p[0] | p[1] << 8)


cdef inline uint32_t load_u32(const uint8_t *p) noexcept nogil:
    return (<uint32_t>p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24)


cdef inline uint64_t load_u64(const uint8_t *p) noexcept nogil:
    return <uint64_t>load_u32(p) | <uint64_t>load_u32(p + 4) << 32


cdef inline void store_u16(uint8_t *p, uint16_t value) noexcept nogil:
    p[0] = <uint8_t>value
    p[1] = <uint8_t>(value >> 8)


cdef inline void store_u32(uint8_t *p, uint32_t value) noexcept nogil:
    p[0] = <uint8_t>value
    p[1] = <uint8_t>(value >> 8)
    p[2] = <uint8_t>(value >> 16)
    p[3] = <uint8_t>(value >> 24)


cdef inline void store_u64(uint8_t *p, uint64_t value) noexcept nogil:
    store_u32(p, <uint32_t>value)
    store_u32(p + 4, <uint32_t>(value >> 32))


# partial_cost is what a PARTIAL counts against its stream's credit, given its parts' bytes.
cdef inline uint64_t partial_cost(uint64_t bytes, uint32_t parts) noexcept nogil:
    return bytes + PARTIAL_COST * (1 + <uint64_t>parts)


# --- checking ------------------------------------------------------------------------------

# kind_known says whether this version has the kind; a record of another is skipped by its size.
cdef inline bint kind_known(uint8_t kind) noexcept nogil:
    return 0 < kind < KIND_END


# kind_flags returns the flags that may be set in a record of this kind.
cdef inline uint8_t kind_flags(uint8_t kind) noexcept nogil:
    if kind == KIND_REQUEST:
        return FLAGS_ALL
    elif kind == KIND_REPLY:
        return FLAG_ATTACHED | FLAG_META
    elif kind == KIND_TASK:
        return FLAG_ATTACHED | FLAG_DURABLE | FLAG_META
    elif kind == KIND_PARTIAL or kind == KIND_ERROR:
        return FLAG_ATTACHED | FLAG_META
    return 0 if kind_known(kind) else FLAGS_ALL


# kind_has_body says whether a record of this kind may have parts.
cdef inline bint kind_has_body(uint8_t kind) noexcept nogil:
    return kind_flags(kind) != 0 or kind == KIND_READY or kind == KIND_HELLO


# kind_has_id says whether the id of a record of this kind names a request or a task.
cdef inline bint kind_has_id(uint8_t kind) noexcept nogil:
    return kind_flags(kind) != 0 or kind == KIND_CANCEL or kind == KIND_ACCEPTED or (
        kind == KIND_CREDIT)


# named_head_size returns the size of the head of a REQUEST or TASK, given its service's.
cdef inline uint32_t named_head_size(uint8_t flags, uint32_t service_size) noexcept nogil:
    return (NAMED_SIZE + service_size + (DURABLE_SIZE if flags & FLAG_DURABLE else 0)
            + (RUN_SIZE if flags & FLAG_MOVED else 0))


# named_check checks the head of a REQUEST or TASK that has `room` bytes: WIRE_*, *head its size.
cdef inline int named_check(
    const uint8_t *record_bytes, uint32_t room, uint64_t *head
) noexcept nogil:
    if room < NAMED_SIZE:
        return WIRE_HEAD
    head[0] = named_head_size(record_bytes[5], load_u16(record_bytes + 22))
    if head[0] > room:
        return WIRE_HEAD
    if record_bytes[4] == KIND_REQUEST and record_bytes[21] != 0:
        return WIRE_RESERVED
    return WIRE_OK


# holds_reserved gives what is in the reserved bytes of a HOLDS that has room for its entries.
cdef inline uint8_t holds_reserved(const uint8_t *record_bytes) noexcept nogil:
    cdef const uint8_t *at = record_bytes + RECORD_SIZE + HOLDS_SIZE
    cdef uint32_t n = load_u32(record_bytes + 16)
    cdef uint8_t bits = load_u32(record_bytes + 20) != 0
    while n:
        bits |= load_u32(at + 26) != 0 or load_u16(at + 30) != 0
        at += HOLDS_ENTRY_SIZE
        n -= 1
    return bits


# fixed_size gives the bytes of the head of any other known kind, up to what it lists.
cdef inline uint32_t fixed_size(uint8_t kind) noexcept nogil:
    if kind == KIND_ERROR or kind == KIND_BYE:
        return 8
    elif kind == KIND_PARTIAL:
        return PARTIAL_SIZE
    elif kind == KIND_CREDIT:
        return CREDIT_SIZE
    elif kind == KIND_READY:
        return READY_SIZE
    elif kind == KIND_HOLDS:
        return HOLDS_SIZE
    elif kind == KIND_WELCOME:
        return WELCOME_SIZE
    return HELLO_SIZE if kind == KIND_HELLO else 0


# fixed_check checks the head of any other known kind that has `room` bytes: WIRE_*, *head its size.
cdef inline int fixed_check(
    const uint8_t *record_bytes, uint32_t room, uint64_t *head
) noexcept nogil:
    cdef uint8_t kind = record_bytes[4]
    cdef uint8_t reserved = 0
    head[0] = fixed_size(kind)
    if head[0] > room:
        return WIRE_HEAD
    if kind == KIND_READY:
        head[0] += 8 * <uint64_t>load_u32(record_bytes + 20)
    elif kind == KIND_HOLDS:
        head[0] += HOLDS_ENTRY_SIZE * <uint64_t>load_u32(record_bytes + 16)
    elif kind == KIND_PARTIAL:
        reserved = record_bytes[21] | record_bytes[22] | record_bytes[23]
    elif kind == KIND_ERROR or kind == KIND_BYE:
        reserved = record_bytes[18] | record_bytes[19]
    elif kind == KIND_CREDIT:
        reserved = load_u32(record_bytes + 36) != 0
    if head[0] > room:
        return WIRE_HEAD
    if kind == KIND_HOLDS:
        reserved = holds_reserved(record_bytes)
    return WIRE_RESERVED if reserved else WIRE_OK


# parts_check checks whether `parts` inline parts fill [at, end) exactly: WIRE_*.
cdef inline int parts_check(const uint8_t *at, const uint8_t *end, uint32_t parts) noexcept nogil:
    cdef uint32_t size
    while parts:
        if end - at < 4:
            return WIRE_PARTS
        size = load_u32(at)
        at += 4
        if <uint64_t>size > <uint64_t>(end - at):
            return WIRE_PARTS
        at += size
        parts -= 1
    return WIRE_OK if at == end else WIRE_PARTS


# record_check checks the framing of the record at `record_bytes`, of which `left` bytes are in the
# packet: WIRE_*; *claimed grows by the attached frames that it claims.
cdef inline int record_check(
    const uint8_t *record_bytes, size_t left, uint32_t *claimed
) noexcept nogil:
    cdef uint32_t size, parts
    cdef uint64_t head = 0
    cdef uint8_t kind, flags
    cdef int error
    if left < RECORD_SIZE:
        return WIRE_SHORT
    size = load_u32(record_bytes)
    if size < RECORD_SIZE or size > left:
        return WIRE_SIZE
    kind = record_bytes[4]
    flags = record_bytes[5]
    parts = load_u16(record_bytes + 6)
    if flags & ~kind_flags(kind):
        return WIRE_FLAGS
    if parts == 0 and flags & (FLAG_ATTACHED | FLAG_META):
        return WIRE_PARTS
    if flags & FLAG_ATTACHED:
        claimed[0] += parts
    if not kind_known(kind):
        return WIRE_OK
    if parts and not kind_has_body(kind):
        return WIRE_PARTS
    if kind == KIND_REQUEST or kind == KIND_TASK:
        error = named_check(record_bytes, size - RECORD_SIZE, &head)
    elif kind == KIND_REPLY:
        error = WIRE_OK
    else:
        error = fixed_check(record_bytes, size - RECORD_SIZE, &head)
    if error:
        return error
    return parts_check(
        record_bytes + RECORD_SIZE + head, record_bytes + size,
        0 if flags & FLAG_ATTACHED else parts)


# header_check checks the 32 bytes before the records: WIRE_*. A version is known by its first four
# bytes alone: what follows may be anything in another one.
cdef inline int header_check(const uint8_t *data, size_t size) noexcept nogil:
    if size < 4:
        return WIRE_SHORT
    if memcmp(data, b"PND", 3) != 0:
        return WIRE_MAGIC
    if data[3] != 1:
        return WIRE_VERSION
    if size < HEADER_SIZE:
        return WIRE_SHORT
    if load_u16(data + 6) != 0:
        return WIRE_RESERVED
    return WIRE_COUNT if load_u16(data + 4) == 0 else WIRE_OK


# packet_open checks the framing of a packet that came with `attached` further frames: WIRE_OK, and
# packet_next may walk it; else a wire_error, and no record of the message may act.
cdef inline int packet_open(
    const uint8_t *data, size_t size, uint32_t attached, packet_t *p
) noexcept nogil:
    cdef uint32_t claimed = 0  # 65535 records of 65535 frames each still fit
    cdef uint32_t left
    cdef int error = header_check(data, size)
    memset(p, 0, sizeof(packet_t))
    p.at = data
    p.end = data + size
    if error:
        return error
    p.session = data + 8
    p.done = load_u64(data + 24)
    p.records = load_u16(data + 4)
    p.at = data + HEADER_SIZE
    left = p.records
    while left:
        fetch(p.at + FETCH_AHEAD)
        error = record_check(p.at, p.end - p.at, &claimed)
        if error:
            return error
        p.at += load_u32(p.at)
        left -= 1
    if p.at != p.end:
        return WIRE_COUNT
    p.at = data + HEADER_SIZE
    return WIRE_OK if claimed == attached else WIRE_FRAMES


# --- walking -------------------------------------------------------------------------------

# Heads are filled in whole, so that what another record of the same kind left needs no clearing.

# named_read fills in the head of a REQUEST or TASK and returns where its body begins.
cdef inline const uint8_t *named_read(const uint8_t *record_bytes, record_t *r) noexcept nogil:
    cdef const uint8_t *at = record_bytes + RECORD_SIZE + NAMED_SIZE
    r.timeout_ms = load_u32(record_bytes + 16)
    r.priority = record_bytes[20]
    r.attempt = record_bytes[21]
    r.service_size = load_u16(record_bytes + 22)
    r.key = record_bytes + 24
    r.service = at
    at += r.service_size
    r.delay_ms = 0
    if r.flags & FLAG_DURABLE:
        r.delay_ms = load_u32(at)
        at += DURABLE_SIZE
    r.run = 0
    if r.flags & FLAG_MOVED:
        r.run = load_u64(at)
        at += RUN_SIZE
    return at


# fixed_read fills in the head of any other kind and returns where its body begins; NULL: unknown.
cdef inline const uint8_t *fixed_read(const uint8_t *record_bytes, record_t *r) noexcept nogil:
    if r.kind == KIND_REPLY:
        return record_bytes + RECORD_SIZE
    elif r.kind == KIND_PARTIAL:
        r.sequence = load_u32(record_bytes + 16)
        r.attempt = record_bytes[20]
        r.run = load_u64(record_bytes + 24)
        return record_bytes + RECORD_SIZE + PARTIAL_SIZE
    elif r.kind == KIND_ERROR or r.kind == KIND_BYE:
        r.code = load_u16(record_bytes + 16)
        r.retry_after_ms = load_u32(record_bytes + 20)
        return record_bytes + 24
    elif r.kind == KIND_READY:
        r.capacity = load_u32(record_bytes + 16)
        r.tokens = load_u32(record_bytes + 20)
        r.features = load_u32(record_bytes + 24)
        r.epoch = record_bytes + 28
        r.token_list = record_bytes + RECORD_SIZE + READY_SIZE
        return r.token_list + 8 * <size_t>r.tokens
    elif r.kind == KIND_HELLO:
        r.features = load_u32(record_bytes + 16)
        return record_bytes + RECORD_SIZE + HELLO_SIZE
    elif r.kind == KIND_HOLDS:
        r.holds = load_u32(record_bytes + 16)
        r.holds_list = record_bytes + RECORD_SIZE + HOLDS_SIZE
        return record_bytes + r.size
    elif r.kind == KIND_WELCOME:
        r.heartbeat_ms = load_u32(record_bytes + 16)
        r.liveness = load_u32(record_bytes + 20)
        r.body_bytes_max = load_u32(record_bytes + 24)
        r.packet_bytes_max = load_u32(record_bytes + 28)
        r.frames_max = load_u32(record_bytes + 32)
        r.requests_max = load_u32(record_bytes + 36)
        r.features = load_u32(record_bytes + 40)
        return record_bytes + RECORD_SIZE + WELCOME_SIZE
    elif r.kind == KIND_CREDIT:
        r.credit = load_u64(record_bytes + 16)
        r.run = load_u64(record_bytes + 24)
        r.sequence = load_u32(record_bytes + 32)
        return record_bytes + RECORD_SIZE + CREDIT_SIZE
    return record_bytes + RECORD_SIZE if kind_known(r.kind) else NULL


# packet_next reads the next record of an opened packet: 1, or 0 after the last one. A packet is
# read into one and the same record_t.
cdef inline int packet_next(packet_t *p, record_t *r) noexcept nogil:
    cdef const uint8_t *record_bytes = p.at
    cdef const uint8_t *body
    if record_bytes == p.end:
        return 0
    if p.filled != 1 + <uint16_t>record_bytes[4]:
        memset(r, 0, sizeof(record_t))
        p.filled = 1 + <uint16_t>record_bytes[4]
    r.bytes = record_bytes
    r.size = load_u32(record_bytes)
    r.kind = record_bytes[4]
    r.flags = record_bytes[5]
    r.parts = load_u16(record_bytes + 6)
    r.id = load_u64(record_bytes + 8)
    r.attached = 0
    r.body = NULL
    r.body_size = 0
    p.at = record_bytes + r.size
    fetch(p.at + LINE)
    if r.kind == KIND_REQUEST or r.kind == KIND_TASK:
        body = named_read(record_bytes, r)
    elif r.kind == KIND_REPLY:
        body = record_bytes + RECORD_SIZE
    else:
        body = fixed_read(record_bytes, r)
    if r.flags & FLAG_ATTACHED:
        r.attached = p.attached
        p.attached += r.parts
    elif r.parts and body != NULL:
        r.body = body
        r.body_size = <uint32_t>(p.at - body)
    return 1


# packet_ids writes the ids of the records that packet_next reads next, `room` of them at most, and
# returns how many.
cdef inline uint32_t packet_ids(const packet_t *p, uint64_t *ids, uint32_t room) noexcept nogil:
    cdef const uint8_t *record_bytes = p.at
    cdef uint32_t n = 0
    while record_bytes != p.end and n < room:
        ids[n] = load_u64(record_bytes + 8)
        record_bytes += load_u32(record_bytes)
        n += 1
    return n


# part_next reads the inline part at *at and steps over it: 1, or 0 at the end. Only for the body
# of a record of an opened packet.
cdef inline int part_next(const uint8_t **at, const uint8_t *end, part_t *part) noexcept nogil:
    if at[0] == end:
        return 0
    part.size = load_u32(at[0])
    part.data = at[0] + 4
    at[0] = part.data + part.size
    return 1


# key_given says whether a key is one: not all 0.
cdef inline bint key_given(const uint8_t *key) noexcept nogil:
    return (load_u64(key) | load_u64(key + 8)) != 0


# holds_entry reads entry `i` of a HOLDS's list.
cdef inline void holds_entry(const uint8_t *list, uint32_t i, holds_entry_t *entry) noexcept nogil:
    cdef const uint8_t *at = list + HOLDS_ENTRY_SIZE * <size_t>i
    entry.token = load_u64(at)
    entry.key = at + 8
    entry.attempt = at[24]
    entry.state = at[25]


# --- writing --------------------------------------------------------------------------------

# part_put writes one inline part and returns where the next one goes.
cdef inline uint8_t *part_put(uint8_t *at, const void *data, uint32_t size) noexcept nogil:
    store_u32(at, size)
    if size:
        memcpy(at + 4, data, size)
    return at + 4 + size


# wire_error_text names a wire_error in one word, for logs and errors; a static string.
cdef const char *wire_error_text(int error) noexcept nogil

# packet_begin empties the buffer and writes a header of no records yet: 0, or -1: no memory.
cdef int packet_begin(buffer_t *b, const uint8_t *session, uint64_t done) noexcept nogil


# packet_end enters the number of records, 1..PACKET_RECORDS_MAX, into the header.
cdef inline void packet_end(buffer_t *b, uint32_t records) noexcept nogil:
    store_u16(b.data + 4, <uint16_t>records)


# record_begin appends a record with a zeroed head and room for its body; returns its head,
# NULL: no memory, or a record of 4 GiB and more.
cdef uint8_t *record_begin(
    buffer_t *b, uint8_t kind, uint8_t flags, uint16_t parts, uint64_t id,
    size_t head_size, size_t body_size,
) noexcept nogil

# The writers below append one record. Those that return a pointer give the place of the body,
# body_size bytes to be filled by the caller (part_put), or NULL; the others 0, or -1: no memory.
# With FLAG_DURABLE the delay is 0. A key of NULL is none; `run` is written with FLAG_MOVED.
cdef uint8_t *put_request(
    buffer_t *b, uint64_t id, uint8_t flags, uint16_t parts, uint32_t timeout_ms,
    uint8_t priority, const uint8_t *key, uint64_t run, const uint8_t *service,
    uint16_t service_size, size_t body_size,
) noexcept nogil
cdef uint8_t *put_reply(
    buffer_t *b, uint64_t id, uint8_t flags, uint16_t parts, size_t body_size
) noexcept nogil
cdef uint8_t *put_partial(
    buffer_t *b, uint64_t id, uint8_t flags, uint16_t parts, uint32_t sequence, uint8_t attempt,
    size_t body_size,
) noexcept nogil
cdef int put_simple(buffer_t *b, uint8_t kind, uint64_t id) noexcept nogil
cdef uint8_t *put_coded(     # an ERROR or BYE
    buffer_t *b, uint8_t kind, uint64_t id, uint8_t flags, uint16_t parts, uint16_t code,
    uint32_t retry_after_ms, size_t body_size,
) noexcept nogil
cdef int put_error(
    buffer_t *b, uint64_t id, uint16_t code, uint32_t retry_after_ms, const void *text, uint32_t n
) noexcept nogil
cdef int put_bye(buffer_t *b, uint16_t reason, uint32_t retry_after_ms) noexcept nogil
cdef int put_credit(
    buffer_t *b, uint64_t id, uint64_t run, uint64_t credit, uint32_t sequence) noexcept nogil
cdef uint8_t *put_hello(
    buffer_t *b, uint16_t parts, uint32_t features, size_t body_size) noexcept nogil
# put_ready: `epoch` is SESSION_SIZE bytes.
cdef uint8_t *put_ready(
    buffer_t *b, uint16_t parts, uint32_t capacity, uint32_t features, const uint8_t *epoch,
    const uint64_t *tokens, uint32_t count, size_t body_size,
) noexcept nogil
# put_holds: the keys of the entries are copied.
cdef int put_holds(buffer_t *b, const holds_entry_t *entries, uint32_t count) noexcept nogil
cdef int put_welcome(
    buffer_t *b, uint32_t heartbeat_ms, uint32_t liveness, uint32_t body_bytes_max,
    uint32_t packet_bytes_max, uint32_t frames_max, uint32_t requests_max, uint32_t features,
) noexcept nogil


# put_record appends a stored record as it is and returns its place, for the rewrites below;
# NULL: no memory.
cdef inline uint8_t *put_record(
    buffer_t *b, const uint8_t *record_bytes, uint32_t size
) noexcept nogil:
    cdef uint8_t *at = buffer_extend(b, size)
    if at != NULL:
        memcpy(at, record_bytes, size)
    return at


# record_to_task turns a sound REQUEST without MOVED, in place, into the TASK of one attempt.
cdef inline void record_to_task(
    uint8_t *record_bytes, uint64_t token, uint32_t remaining_ms, uint8_t attempt
) noexcept nogil:
    record_bytes[4] = KIND_TASK
    record_bytes[5] &= <uint8_t>~FLAG_RETRY
    store_u64(record_bytes + 8, token)
    store_u32(record_bytes + 16, remaining_ms)
    record_bytes[21] = attempt
    if record_bytes[5] & FLAG_DURABLE:
        memset(record_bytes + RECORD_SIZE + NAMED_SIZE + load_u16(record_bytes + 22), 0, 4)


# record_to_reply gives a worker's REPLY, PARTIAL or ERROR, in place, its client's request id. Of a
# PARTIAL the token stays: as its run.
cdef inline void record_to_reply(uint8_t *record_bytes, uint64_t id) noexcept nogil:
    if record_bytes[4] == KIND_PARTIAL:
        memcpy(record_bytes + 24, record_bytes + 8, 8)
    store_u64(record_bytes + 8, id)
