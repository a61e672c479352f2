"""What a worker keeps when its broker is gone, until a broker adopts it (rules: adoption.pxd)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset, strlen

from pound._base.check cimport CHECK
from pound._wire.codes cimport CODE_UNAVAILABLE
from pound._wire.packets cimport (
    HOLDS_ANSWERED, HOLDS_RUNNING, KIND_ERROR, KIND_PARTIAL, holds_entry_t, key_given)
from .handoff cimport handoff_abandon
from .mailbox cimport body_text
from .outbox cimport outbox_holds
from .partials cimport room_give, room_take
from .task cimport (
    TASK_ANSWERED, TASK_GONE, TASK_STALE, answer_free, answer_new, answers_append, answers_drop,
    answers_pop, answers_put, answers_t, held_add, task_drop, task_keep)
from .worker_state cimport answered_add, answered_remove, held_find, running_remove

cdef enum:
    MILLISECOND = 1000000        # ns
    ENTRIES_MAX = 16384          # of one HOLDS: 512 KiB, within a packet of any broker

cdef const char *NOT_KEPT = b"the worker does not have the task any more"


cdef struct naming_t:        # entries of HOLDS that are about to be written
    holds_entry_t *entries   # owned
    uint32_t count


cdef inline bint is_final(const answer_t *a) noexcept nogil:
    return a.kind != KIND_PARTIAL


# is_kept says whether another broker may want a task: it has a key, and nothing of it is missing.
cdef inline bint is_kept(const held_task_t *task) noexcept nogil:
    return task != NULL and not task.cancelled and not task.is_partial and key_given(task.key)


# --- while the broker lives ----------------------------------------------------------------

# keep puts an answer to what is kept of its task. False: that is beyond its bound, and dropped.
cdef bint keep(held_task_t *task, answer_t *a) noexcept nogil:
    answers_put(&task.kept, a)
    if task.kept.bytes <= <uint64_t>KEPT_BYTES_MAX or is_final(a):
        return True
    task.is_partial = 1
    answers_drop(&task.kept)
    return False


# give_back has a broker told that the worker has not the task of a token any more.
cdef void give_back(worker_state_t *w, uint64_t token) noexcept nogil:
    cdef answer_t *a = answer_new(KIND_ERROR, NULL, token)
    a.code = CODE_UNAVAILABLE
    CHECK(body_text(&a.body, NOT_KEPT, <uint32_t>strlen(NOT_KEPT)) == 0, "no memory for an answer")
    answers_put(&w.unsent, a)


cdef void kept_lost(answer_t *a) noexcept nogil:
    if a.task != NULL and not is_final(a):
        a.task.is_partial = 1
    answer_free(a)


cdef void kept_heard(worker_state_t *w) noexcept nogil:
    cdef answer_t *a
    while w.sent.first != NULL:
        a = answers_pop(&w.sent)
        if not is_kept(a.task) or a.code == CODE_UNAVAILABLE:
            answer_free(a)
        elif is_final(a):
            answers_put(&w.kept.recent, a)
        else:
            keep(a.task, a)
    while w.kept.recent.count > RECENT_MAX or w.kept.recent.bytes > <uint64_t>RECENT_BYTES_MAX:
        answer_free(answers_pop(&w.kept.recent))


cdef void kept_turn(worker_state_t *w, int64_t now) noexcept nogil:
    if now - w.kept.turned_at < <int64_t>RECENT_MS * MILLISECOND:
        return
    w.kept.turned_at = now
    answers_drop(&w.kept.older)
    w.kept.older = w.kept.recent
    memset(&w.kept.recent, 0, sizeof(answers_t))


cdef void kept_credit(held_task_t *task, uint32_t sequence) noexcept nogil:
    cdef const answer_t *a = task.kept.first
    while a != NULL and not is_final(a) and a.sequence < sequence:
        answer_free(answers_pop(&task.kept))
        a = task.kept.first


# --- when it is gone -----------------------------------------------------------------------

# keep_all moves answers to their tasks; what no broker may want is dropped.
cdef void keep_all(
    worker_state_t *w, answers_t *answers, bint is_heard, bint has_room
) noexcept nogil:
    cdef answer_t *a
    while answers.first != NULL:
        a = answers_pop(answers)
        if has_room:
            room_give(&w.handoff, a)
        if not is_kept(a.task) or a.code == CODE_UNAVAILABLE:
            answer_free(a)
            continue
        if keep(a.task, a) and is_final(a):
            a.task.is_heard = is_heard
            keep_answered(w, a.task)


# keep_answered keeps a task whose last answer is among what is kept of it.
cdef void keep_answered(worker_state_t *w, held_task_t *task) noexcept nogil:
    task_keep(task)
    task.unadopted = 1
    answered_add(w, task)


cdef uint32_t kept_epoch(worker_state_t *w) noexcept nogil:
    cdef held_task_t *task = w.running.oldest
    cdef held_task_t *following
    keep_all(w, &w.kept.older, True, False)
    keep_all(w, &w.kept.recent, True, False)
    keep_all(w, &w.sent, False, False)
    keep_all(w, &w.unsent, False, True)
    answered_trim(w)
    while task != NULL:
        following = task.newer
        if is_kept(task):
            w.kept.unadopted += not task.unadopted
            task.unadopted = 1
        else:
            outdate(w, task)
        task = following
    return w.running.count


cdef void outdate(worker_state_t *w, held_task_t *task) noexcept nogil:
    running_remove(w, task)
    handoff_abandon(&w.handoff, task)
    answers_drop(&task.kept)
    task.place = TASK_STALE
    held_add(&w.stale, task)


# answered_trim forgets the oldest answers beyond what is kept.
cdef void answered_trim(worker_state_t *w) noexcept nogil:
    while (w.kept.answered.count > ANSWERED_MAX
           or w.kept.answered_bytes > <uint64_t>ANSWERED_BYTES_MAX):
        forget(w, w.kept.answered.oldest)


cdef void forget(worker_state_t *w, held_task_t *task) noexcept nogil:
    answered_remove(w, task)
    answers_drop(&task.kept)
    task_drop(task)


cdef bint kept_given(worker_state_t *w, answer_t *a) noexcept nogil:
    cdef held_task_t *task = a.task
    if not is_kept(task) or a.code == CODE_UNAVAILABLE:
        return False
    room_give(&w.handoff, a)
    if is_final(a):
        running_remove(w, task)
    if not keep(task, a):
        give_back(w, task.token)
        outdate(w, task)
        w.ready_again = 1
    elif is_final(a):
        answered_add(w, task)
        answered_trim(w)
        w.ready_again = 1
    return True


# --- when another one has come -------------------------------------------------------------

cdef void kept_adopted(worker_state_t *w, uint64_t token) noexcept nogil:
    cdef held_task_t *task = held_find(w, token)
    cdef answer_t *a
    if task == NULL:
        give_back(w, token)
    if task == NULL or not task.unadopted:
        return
    if task.place == TASK_ANSWERED:
        answered_remove(w, task)
    else:
        w.kept.unadopted -= 1
    task.unadopted = 0
    a = task.kept.first
    while a != NULL:
        room_take(&w.handoff, a)
        a = a.next
    answers_append(&w.unsent, &task.kept)
    if task.place == TASK_GONE:
        task_drop(task)


cdef bint kept_cancelled(worker_state_t *w, held_task_t *task) noexcept nogil:
    if task.place == TASK_ANSWERED:
        forget(w, task)
        return True
    w.kept.unadopted -= task.unadopted
    task.unadopted = 0
    answers_drop(&task.kept)
    return False


# hold writes an entry for a task of HOLDS, and all of them once they are as many as fit.
cdef void hold(outbox_t *out, naming_t *holds, const held_task_t *task) noexcept nogil:
    cdef holds_entry_t *entry = &holds.entries[holds.count]
    entry.token = task.token
    entry.key = &task.key[0]
    entry.attempt = task.attempt
    entry.state = HOLDS_ANSWERED if task.place == TASK_ANSWERED else HOLDS_RUNNING
    holds.count += 1
    if holds.count == ENTRIES_MAX:
        outbox_holds(out, holds.entries, holds.count)
        holds.count = 0


cdef void kept_holds(outbox_t *out, const worker_state_t *w) noexcept nogil:
    cdef uint32_t count = w.kept.unadopted + w.kept.answered.count
    cdef const held_task_t *task
    cdef naming_t holds
    if count == 0:
        return
    holds.count = 0
    holds.entries = <holds_entry_t *>malloc(
        min(count, <uint32_t>ENTRIES_MAX) * sizeof(holds_entry_t))
    CHECK(holds.entries != NULL, "no memory for HOLDS")
    task = w.kept.answered.oldest
    while task != NULL:
        hold(out, &holds, task)
        task = task.newer
    task = w.running.oldest
    while task != NULL:
        if task.unadopted:
            hold(out, &holds, task)
        task = task.newer
    if holds.count:
        outbox_holds(out, holds.entries, holds.count)
    free(holds.entries)


cdef void kept_abandon(worker_state_t *w) noexcept nogil:
    cdef held_task_t *task = w.running.oldest
    cdef held_task_t *following
    while task != NULL:
        following = task.newer
        if task.unadopted:
            outdate(w, task)
        task = following
    kept_drop(w)


cdef void kept_drop(worker_state_t *w) noexcept nogil:
    while w.kept.answered.oldest != NULL:
        forget(w, w.kept.answered.oldest)
    answers_drop(&w.kept.recent)
    answers_drop(&w.kept.older)
