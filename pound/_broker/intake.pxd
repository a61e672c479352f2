# What both kinds of input share: storing what came, and handing it to the dispatcher.
#
# A stored_t that is filled here is owned by the caller until `accept` (with its slot_t), `answer`
# or `partial` takes it, which they always do: they store it or free it. The frames of the message
# that is being read are b.frames[0] (the routing id), b.frames[1], ...; attaching moves a frame out
# of there.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

from pound._wire.dialects cimport frame_t
from pound._wire.writer cimport FLAG_ATTACHED, record_t
from .records cimport stored_fill
from .state cimport broker_t, hole_t, peer_t, route_t, slot_t, stored_t

# strike counts a malformed message against its route.
cdef void strike(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil

# strike_off notes that a route is not listened to from now on: counted and logged once.
cdef void strike_off(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil

# strikes_left returns a route's strikes less those that have been forgiven, one for each second. A
# route that has STRIKES_MAX of them is not listened to: a flood of bad messages costs next to
# nothing, and a program that was mended is heard again.
cdef uint16_t strikes_left(broker_t *b, route_t *route) noexcept nogil

# frames_bytes sums the sizes of `count` frames from `first` on.
cdef uint64_t frames_bytes(broker_t *b, uint32_t first, uint32_t count) noexcept nogil

# store_request, store_reply and store_partial fill *out with the record of a foreign body,
# the frames from `first` on; 0, or -1.
cdef int store_request(
    broker_t *b, stored_t *out, const uint8_t *service, uint32_t size, uint32_t first,
    uint32_t count) noexcept nogil
cdef int store_reply(
    broker_t *b, stored_t *out, uint32_t first, uint32_t count) noexcept nogil
cdef int store_partial(
    broker_t *b, stored_t *out, uint32_t sequence, uint8_t attempt, uint32_t first, uint32_t count
) noexcept nogil

# store_frames fills *out with a record and the frames attached to it, from `first` on; 0, or -1.
cdef int store_frames(
    broker_t *b, stored_t *out, const uint8_t *image, uint32_t size, uint32_t first, uint16_t count
) noexcept nogil


cdef inline int store_record(broker_t *b, stored_t *out, const record_t *r) noexcept nogil:
    """store_record fills *out with a PND record and the frames that it claims; 0, or -1."""
    if r.flags & FLAG_ATTACHED:
        return store_frames(b, out, r.image, r.size, r.attached + 2, r.parts)
    return stored_fill(b, out, r.image, r.size, 0)


# accept offers a request of a client to the dispatcher and takes what is to be kept of it; the
# result is a REQ_*. It counts for the bytes of its record and of its envelope.
cdef int accept(
    broker_t *b, peer_t *peer, uint64_t id, uint32_t service, uint8_t priority,
    int64_t timeout_ns, slot_t *kept) noexcept nogil

# answer hands a worker's final answer to the dispatcher; the result is an ANS_*.
cdef int answer(
    broker_t *b, peer_t *peer, uint64_t token, stored_t *record) noexcept nogil

# answer_oversized ends a task whose answer is larger than the broker takes: trying again would
# only make the same answer again. The result is an ANS_*.
cdef int answer_oversized(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil

# answer_bad ends a task whose answer has a bad form, likewise: why it is bad is told the client.
cdef int answer_bad(
    broker_t *b, peer_t *peer, uint64_t token, const char *why) noexcept nogil

# answer_unstored ends a task whose answer finds no memory, likewise.
cdef int answer_unstored(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil

# partial queues a partial of the request in `slot` for its client.
cdef void partial(broker_t *b, uint32_t slot, stored_t *record) noexcept nogil

# partial_dropped ends a request whose partial can't be queued, if its client is sent any.
cdef void partial_dropped(broker_t *b, uint32_t slot, hole_t why) noexcept nogil

# answer_page answers a request to one of the broker's own services; the result is as of accept.
# `asked` is the last part of its body; NULL: it has none.
cdef int answer_page(
    broker_t *b, peer_t *peer, uint64_t id, uint8_t page, const uint8_t *name, uint32_t size,
    const frame_t *asked, uint8_t dialect, uint32_t *slot) noexcept nogil
