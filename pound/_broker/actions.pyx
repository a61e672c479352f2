"""The dispatcher's actions carried out (see actions.pxd for the rules)."""

from libc.stdint cimport uint32_t

from pound._base.hints cimport fetch
from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport (
    disp_action, disp_actions, disp_blocked, disp_later, disp_unsent)
from pound._dispatch.model cimport (
    ACT_CANCEL, ACT_CLIENT_FREE, ACT_FAIL, ACT_FREE, ACT_SERVICE_FREE, ACT_TASK, ACT_WORKER_FREE,
    ACT_WORKER_GONE, REQUEST_ANSWERED, action_t)
from pound._wire.dialects cimport DIALECT_PND
from pound._wire.packets cimport KIND_CANCEL
from .control cimport notify
from .credits cimport credits_clear
from .delivery cimport fail
from .heartbeats cimport cancel_heartbeat
from .kinds cimport LOG_WORKER_SILENT
from .log_events cimport log_event
from .peers cimport peer_release
from .queues cimport items_clear, peer_task
from .records cimport slot_clear
from .services cimport service_free
from .state cimport broker_t, peer_t

cdef enum:
    FETCHED_MAX = 64         # slots that are fetched before they are cleared, one after the other


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
        if (peer_task(b, b.peers.of_worker[worker], a.token, a.slot)
                and disp_unsent(b.d, a.slot, a.token)):
            disp_blocked(b.d, worker, b.now)
    elif a.kind == ACT_FREE:
        slot_clear(b, &b.slots[a.slot])
    elif a.kind == ACT_FAIL:
        # The same tick may have ended its client, and freed the request with it.
        if b.d.requests[a.slot].state == REQUEST_ANSWERED:
            fail(b, a.slot, a.code, a.peer)
    elif a.kind == ACT_CANCEL:
        if b.peers.of_worker[a.peer].dialect == DIALECT_PND:
            notify(b, b.peers.of_worker[a.peer], KIND_CANCEL, a.token)
    elif a.kind == ACT_WORKER_GONE:
        worker_silent(b, b.peers.of_worker[a.peer])
    elif a.kind == ACT_WORKER_FREE:
        worker_free(b, a.peer)
    elif a.kind == ACT_CLIENT_FREE:
        client_free(b, a.peer)
    elif a.kind == ACT_SERVICE_FREE:
        service_free(b, a.peer)


cdef void worker_silent(broker_t *b, peer_t *peer) noexcept nogil:
    log_event(b, LOG_WORKER_SILENT, peer, NULL, 0, 0, 0)
    peer.tasks.count = 0
    cancel_heartbeat(b, peer)


cdef void worker_free(broker_t *b, uint32_t worker) noexcept nogil:
    cdef peer_t *peer = b.peers.of_worker[worker]
    b.peers.of_worker[worker] = NULL
    peer.worker = NONE
    peer.tasks.count = 0
    credits_clear(b, peer)
    cancel_heartbeat(b, peer)
    peer_release(b, peer)


cdef void client_free(broker_t *b, uint32_t client) noexcept nogil:
    cdef peer_t *peer = b.peers.of_client[client]
    b.peers.of_client[client] = NULL
    peer.client = NONE
    items_clear(b, peer)
    peer_release(b, peer)
