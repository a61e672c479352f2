# Reading PND/1: a packet in, records out.
#
# packet_open judges the framing of a whole packet before any of its records acts; packet_next then
# walks the records and trusts what was judged.
#
# Invariant: after WIRE_OK every pointer of packet_t and record_t lies inside the packet's frame,
#            and the records claim exactly the attached frames that came with it. Values (names,
#            priority, capacity, codes) are not judged here: they are their reader's business.
# Cost:      one pass of packet_open, one of packet_next: O(records + inline parts), no allocation.
# Memory:    packet_t and record_t borrow the frame.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from pound._base.array cimport LINE
from pound._base.hints cimport fetch
from .format cimport (
    DURABLE_SIZE, FLAG_ATTACHED, FLAG_DURABLE, FLAG_META, FLAG_RETRY, HEADER_SIZE, KIND_ACCEPTED,
    KIND_BYE, KIND_CANCEL, KIND_CREDIT, KIND_END, KIND_ERROR, KIND_HELLO, KIND_HOLE, KIND_PARTIAL,
    KIND_READY, KIND_REPLY, KIND_REQUEST, KIND_TASK, KIND_WELCOME, PUBLIC_ID_SIZE, RECORD_SIZE,
    load_u16, load_u32, load_u64)

cdef enum:
    FETCH_AHEAD = 4 * LINE   # of what another thread has just written
    FLAGS_ALL = FLAG_ATTACHED | FLAG_DURABLE | FLAG_RETRY | FLAG_META

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
    const uint8_t *image     # the whole record, `size` bytes: what the broker stores and relays
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
    uint8_t attempt          # TASK, PARTIAL, CREDIT: from 1
    uint16_t service_size    # bytes
    const uint8_t *service   # REQUEST, TASK
    const uint8_t *public_id  # PUBLIC_ID_SIZE bytes, with DURABLE
    uint32_t delay_ms        # with DURABLE
    uint32_t sequence        # PARTIAL: from 0 in each attempt
    uint16_t code            # ERROR: code_t; BYE: bye_t
    uint32_t retry_after_ms  # ERROR, BYE
    uint32_t capacity        # READY
    uint32_t tokens          # READY: how many tokens the worker holds
    const uint8_t *token_list  # READY: tokens x u64; read one with load_u64
    uint32_t heartbeat_ms    # WELCOME, this and the five below
    uint32_t liveness
    uint32_t body_bytes_max
    uint32_t packet_bytes_max
    uint32_t frames_max
    uint32_t requests_max
    uint64_t credit          # CREDIT: what the attempt's partials may cost in all


cdef struct part_t:
    const uint8_t *data      # inside the packet's frame
    uint32_t size            # bytes


# --- judging -------------------------------------------------------------------------------

# kind_known says whether this version has the kind; a record of another is skipped by its size.
cdef inline bint kind_known(uint8_t kind) noexcept nogil:
    return 0 < kind < KIND_END and kind != KIND_HOLE


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
    return 8 + service_size + (DURABLE_SIZE if flags & FLAG_DURABLE else 0)


# named_check judges the head of a REQUEST or TASK that has `room` bytes: WIRE_*, *head its size.
cdef inline int named_check(const uint8_t *image, uint32_t room, uint64_t *head) noexcept nogil:
    if room < 8:
        return WIRE_HEAD
    head[0] = named_head_size(image[5], load_u16(image + 22))
    if head[0] > room:
        return WIRE_HEAD
    if image[4] == KIND_REQUEST and image[21] != 0:
        return WIRE_RESERVED
    return WIRE_OK


# fixed_check judges the head of any other known kind that has `room` bytes: WIRE_*, *head its size.
cdef inline int fixed_check(const uint8_t *image, uint32_t room, uint64_t *head) noexcept nogil:
    cdef uint8_t kind = image[4]
    cdef uint8_t reserved = 0
    if kind == KIND_PARTIAL or kind == KIND_ERROR or kind == KIND_BYE or kind == KIND_READY:
        head[0] = 8
    elif kind == KIND_WELCOME:
        head[0] = 24
    elif kind == KIND_CREDIT:
        head[0] = 16
    else:
        head[0] = 0
    if head[0] > room:
        return WIRE_HEAD
    if kind == KIND_READY:
        head[0] += 8 * <uint64_t>load_u32(image + 20)
    elif kind == KIND_PARTIAL:
        reserved = image[21] | image[22] | image[23]
    elif kind == KIND_ERROR or kind == KIND_BYE:
        reserved = image[18] | image[19]
    elif kind == KIND_CREDIT:
        reserved = load_u32(image + 25) != 0 or load_u32(image + 28) != 0
    if head[0] > room:
        return WIRE_HEAD
    return WIRE_RESERVED if reserved else WIRE_OK


# parts_check judges whether `parts` inline parts fill [at, end) exactly: WIRE_*.
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


# record_check judges the framing of the record at `image`, of which `left` bytes are in the packet:
# WIRE_*; *claimed grows by the attached frames that it claims.
cdef inline int record_check(const uint8_t *image, size_t left, uint32_t *claimed) noexcept nogil:
    cdef uint32_t size, parts
    cdef uint64_t head = 0
    cdef uint8_t kind, flags
    cdef int error
    if left < RECORD_SIZE:
        return WIRE_SHORT
    size = load_u32(image)
    if size < RECORD_SIZE or size > left:
        return WIRE_SIZE
    kind = image[4]
    flags = image[5]
    parts = load_u16(image + 6)
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
        error = named_check(image, size - RECORD_SIZE, &head)
    elif kind == KIND_REPLY:
        error = WIRE_OK
    else:
        error = fixed_check(image, size - RECORD_SIZE, &head)
    if error:
        return error
    return parts_check(
        image + RECORD_SIZE + head, image + size, 0 if flags & FLAG_ATTACHED else parts
    )


# header_check judges the 32 bytes before the records: WIRE_*. A version is told from its first four
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


# packet_open judges the framing of a packet that came with `attached` further frames: WIRE_OK, and
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
cdef inline const uint8_t *named_read(const uint8_t *image, record_t *r) noexcept nogil:
    cdef const uint8_t *at = image + 24
    r.timeout_ms = load_u32(image + 16)
    r.priority = image[20]
    r.attempt = image[21]
    r.service_size = load_u16(image + 22)
    r.service = at
    at += r.service_size
    r.public_id = NULL
    r.delay_ms = 0
    if r.flags & FLAG_DURABLE:
        r.public_id = at
        r.delay_ms = load_u32(at + PUBLIC_ID_SIZE)
        at += DURABLE_SIZE
    return at


# fixed_read fills in the head of any other kind and returns where its body begins; NULL: unknown.
cdef inline const uint8_t *fixed_read(const uint8_t *image, record_t *r) noexcept nogil:
    if r.kind == KIND_REPLY:
        return image + RECORD_SIZE
    elif r.kind == KIND_PARTIAL:
        r.sequence = load_u32(image + 16)
        r.attempt = image[20]
        return image + 24
    elif r.kind == KIND_ERROR or r.kind == KIND_BYE:
        r.code = load_u16(image + 16)
        r.retry_after_ms = load_u32(image + 20)
        return image + 24
    elif r.kind == KIND_READY:
        r.capacity = load_u32(image + 16)
        r.tokens = load_u32(image + 20)
        r.token_list = image + 24
        return image + 24 + 8 * <size_t>r.tokens
    elif r.kind == KIND_WELCOME:
        r.heartbeat_ms = load_u32(image + 16)
        r.liveness = load_u32(image + 20)
        r.body_bytes_max = load_u32(image + 24)
        r.packet_bytes_max = load_u32(image + 28)
        r.frames_max = load_u32(image + 32)
        r.requests_max = load_u32(image + 36)
        return image + 40
    elif r.kind == KIND_CREDIT:
        r.credit = load_u64(image + 16)
        r.attempt = image[24]
        return image + 32
    return image + RECORD_SIZE if kind_known(r.kind) else NULL


# packet_next reads the next record of an opened packet: 1, or 0 after the last one. A packet is
# read into one and the same record_t.
cdef inline int packet_next(packet_t *p, record_t *r) noexcept nogil:
    cdef const uint8_t *image = p.at
    cdef const uint8_t *body
    if image == p.end:
        return 0
    if p.filled != 1 + <uint16_t>image[4]:
        memset(r, 0, sizeof(record_t))
        p.filled = 1 + <uint16_t>image[4]
    r.image = image
    r.size = load_u32(image)
    r.kind = image[4]
    r.flags = image[5]
    r.parts = load_u16(image + 6)
    r.id = load_u64(image + 8)
    r.attached = 0
    r.body = NULL
    r.body_size = 0
    p.at = image + r.size
    fetch(p.at + LINE)
    if r.kind == KIND_REQUEST or r.kind == KIND_TASK:
        body = named_read(image, r)
    elif r.kind == KIND_REPLY:
        body = image + RECORD_SIZE
    else:
        body = fixed_read(image, r)
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
    cdef const uint8_t *image = p.at
    cdef uint32_t n = 0
    while image != p.end and n < room:
        ids[n] = load_u64(image + 8)
        image += load_u32(image)
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
