"""Making and freeing the broker's data (see lifetime.pxd)."""

from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free

from pound._base.buffer cimport buffer_free
from pound._base.freelist cimport freelist_free
from pound._base.pool cimport NONE
from pound._base.table cimport names_free, names_init
from pound._base.wake cimport wake_close
from pound._dispatch.dispatcher cimport disp_delete, disp_new
from pound._dispatch.limits cimport limits_t
from pound._wire.dialects cimport BACKEND, FRONTEND, frame_t
from pound._zmq.libzmq cimport zmq, zmq_msg_t
from pound._zmq.pipes cimport pipes_new, pipes_release
from .adoption cimport adoption_free, adoption_init, tokens_now
from .descriptors cimport descriptors_close
from .guard cimport guard_free
from .log_queue cimport logs_free
from .outgoing cimport outgoing_free
from .peers cimport peer_free, roster_free, route_free
from .records cimport slot_clear
from .state cimport broker_t, peer_t, route_t, socket_t

cdef broker_t *broker_new() noexcept nogil:
    cdef broker_t *b = <broker_t *> calloc(1, sizeof(broker_t))
    if b != NULL:
        b.loop.wake_in = b.loop.wake_out = b.descriptors.spare = -1
    return b


cdef int broker_tables(
        broker_t *b, const limits_t *limits, const uint64_t *seeds, uint32_t frames_max
        ) noexcept nogil:
    cdef uint32_t i
    names_init(&b.sides[FRONTEND].ids, seeds[0], seeds[1])
    names_init(&b.sides[BACKEND].ids, seeds[2], seeds[3])
    names_init(&b.peers.sessions, seeds[4], seeds[5])
    names_init(&b.services.names, seeds[6], seeds[7])
    b.services.unnamed = NONE
    adoption_init(b, seeds[8], seeds[9])
    b.d = disp_new(limits, tokens_now(seeds[9]), seeds[10])
    b.pipes = pipes_new()
    b.incoming.frames = <zmq_msg_t *> calloc(frames_max + 1, sizeof(zmq_msg_t))
    b.incoming.frame_views = <frame_t *> calloc(frames_max + 1, sizeof(frame_t))
    b.outbound.attached = <zmq_msg_t **> calloc(frames_max + 1, sizeof(zmq_msg_t *))
    if (b.d == NULL or b.pipes == NULL or b.incoming.frames == NULL
            or b.incoming.frame_views == NULL or b.outbound.attached == NULL):
        return -1
    b.incoming.room = frames_max + 1
    for i in range(b.incoming.room):
        zmq.msg_init(&b.incoming.frames[i])
    return 0


cdef void side_free(broker_t *b, uint8_t side) noexcept nogil:
    cdef socket_t *s = &b.sides[side]
    cdef uint32_t i
    for i in range(s.routes.count):
        if s.routes.at[i] != NULL:
            route_free(b, <route_t *> s.routes.at[i])
    roster_free(&s.routes)
    names_free(&s.ids)
    free(s.connections)


cdef void broker_free(broker_t *b) noexcept nogil:
    cdef peer_t *peer
    cdef uint32_t i
    side_free(b, FRONTEND)
    side_free(b, BACKEND)
    for i in range(b.peers.all.count):
        peer = <peer_t *> b.peers.all.at[i]
        if peer != NULL:
            peer_free(b, peer)
    roster_free(&b.peers.all)
    for i in range(b.slots_room):
        slot_clear(b, &b.slots[i])
    for i in range(b.services.count):
        free(b.services.at[i].name)
        free(b.services.at[i].rights)
    for i in range(b.incoming.room):
        zmq.msg_close(&b.incoming.frames[i])
    names_free(&b.peers.sessions)
    names_free(&b.services.names)
    adoption_free(b)
    buffer_free(&b.outbound.packet)
    buffer_free(&b.scratch)
    freelist_free(&b.freelist)
    if b.pipes != NULL:
        pipes_release(b.pipes)
    free(b.slots_block)
    free(b.streams.at)
    free(b.peers.of_client)
    free(b.peers.of_worker)
    free(b.services.at)
    free(b.incoming.frames)
    free(b.incoming.frame_views)
    free(b.outbound.attached)
    outgoing_free(&b.outbound.message)
    descriptors_close(b)
    guard_free(b.guard)
    wake_close(b.loop.wake_in, b.loop.wake_out)
    if b.logs != NULL:
        logs_free(b.logs)
    free(b.logs)
    if b.d != NULL:
        disp_delete(b.d)
    free(b)
