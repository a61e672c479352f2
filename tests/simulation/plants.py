"""Bugs that the simulation must catch: each a function, a pattern in it, and what is written there.

In a pattern ``$name`` stands for any path (``worker``, ``d.tasks[t]``), the same one wherever it
stands in the pattern and in the new text; ``...`` stands for the rest of a line; a space for any
white space. A pattern must match once in its function: see planted.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plant:
    """``old`` becomes ``new`` in ``function``: a statement, or an expression."""

    name: str
    function: str
    old: str
    new: str
    statement: bool = False
    type: str = "bint"  # of an expression


def bug(name: str, function: str, old: str, new: str, type: str = "bint") -> Plant:
    """A wrong expression."""
    return Plant(name, function, old, new, type=type)


def step(name: str, function: str, old: str, new: str = "pass") -> Plant:
    """A wrong statement, or one that is missing."""
    return Plant(name, function, old, new, statement=True)


PLANTS = (
    # who is chosen
    step(
        "most recently used first",
        "assign",
        "$worker.sent_seq = $d.sent_seq",
        "$worker.sent_seq = <unsigned long long> 0x4000000000000000 - $d.sent_seq",
    ),
    step(
        "a dispatch leaves the worker's turn as it was", "assign", "$worker.sent_seq = $d.sent_seq"
    ),
    bug("idle workers have no precedence", "next_offer", "first != NONE", "0"),
    bug(
        "whoever holds more comes first",
        "next_offer",
        "held_by(d, second) < held_by(d, first)",
        "0",
    ),
    step(
        "a worker's services don't take turns",
        "assign",
        "$worker.next_offer = $offer.index + 1",
        "$worker.next_offer = $offer.index",
    ),
    bug(
        "strict priority starves the lower ones",
        "next_request",
        "$service.dispatches % FAIR_EVERY == FAIR_EVERY - 1",
        "0",
    ),
    bug(
        "floods at both ends starve the priorities between",
        "fair_priority",
        "$service.turn + 1 + __builtin_ctz(after) if after else __builtin_ctz(lower)",
        "__builtin_ctz(lower)",
        "int",
    ),
    bug(
        "isolated requests in inverse priority",
        "queue_enter",
        "<int64_t> (PRIORITIES - 1 - p)",
        "<int64_t> p",
        "int64_t",
    ),
    # turns of owners
    step(
        "who has the turn keeps it",
        "flow_serve",
        "$service.turns[p] = $flow.ring.next",
    ),
    bug("weights do not count", "flow_serve", "$flow.served >= owner_weight($d, $flow.owner)", "1"),
    step("only the first turn has the length of the weight", "flow_serve", "$flow.served = 0"),
    step(
        "what is left of a turn is the next owner's",
        "ring_leave",
        "$service.turns[$flow.priority] = NONE if ...",
        "$service.turns[$flow.priority] = NONE if $flow.ring.next == f else $flow.ring.next; "
        "d.flows.at[$flow.ring.next].served = $flow.served",
    ),
    step(
        "who begins to wait is served first",
        "flow_make",
        "ring_enter(...)",
        "ring_enter(d, &d.services[s], f); d.services[s].turns[p] = f",
    ),
    step("clients of an identity have a turn each", "disp_client_owner", "$client.owner = owner"),
    # quotas
    bug(
        "one open request more than the quota",
        "account_refusal",
        "$a.open + $a.orphans >= $q.open_max",
        "$a.open + $a.orphans > $q.open_max",
    ),
    bug(
        "a request beyond the quota of bytes never comes in",
        "account_refusal",
        "$a.open > 0",
        "1",
    ),
    bug(
        "a request that is due is too early",
        "account_refusal",
        "$a.next_at - $q.burst_ns > now",
        "$a.next_at - $q.burst_ns >= now",
    ),
    bug(
        "whoever was silent may send all that it could have sent",
        "account_enter",
        "max($a.next_at, now)",
        "$a.next_at",
        "int64_t",
    ),
    step("bytes of a quota are not given back", "account_leave", "$a.bytes -= bytes"),
    step(
        "a rate that is raised counts from the next request on",
        "disp_owner_set",
        "account_limit(...)",
    ),
    step("what was cancelled and goes on counts for nobody", "quota_leave", "charge_make(...)"),
    step("what was cancelled counts for ever", "orphan_free", "charge_end(...)"),
    step("a new client has the account of the one before", "client_end", "stakes_end(...)"),
    step(
        "what runs counts for no service's quota", "quota_leave", "account_leave(&stake_find(...)"
    ),
    # credit and eligibility
    bug(
        "one task more than the capacity",
        "worker_eligible",
        "$worker.held < $worker.capacity",
        "$worker.held <= $worker.capacity",
    ),
    step(
        "credit returned twice",
        "credit_give",
        "$worker.held -= 1",
        "$worker.held -= 2 if $worker.held > 1 else 1",
    ),
    bug("a blocked worker stays eligible", "worker_eligible", "$worker.blocked_at == NONE", "1"),
    bug("a leaving worker stays eligible", "worker_eligible", "$worker.leaving", "0"),
    step(
        "what a leaving worker was not sent stays with it", "disp_worker_leave", "tasks_undo(...)"
    ),
    bug(
        "a cancelled task gives its credit back at once",
        "request_drop_task",
        "$task.state == TASK_UNSENT or $worker.gone",
        "1",
    ),
    bug(
        "a worker with credit again is not looked at", "worker_awaited", "$service.waiting > 0", "0"
    ),
    # isolation
    bug(
        "isolated one attempt too late",
        "returned_where",
        "$request.attempts >= ATTEMPTS_SHARED",
        "$request.attempts > ATTEMPTS_SHARED",
    ),
    step(
        "others may join an isolated task",
        "assign",
        "$task.isolates = $request.attempts >= ATTEMPTS_SHARED",
        "$task.isolates = 0",
    ),
    bug(
        "a reservation outlives its purpose",
        "queue_leave",
        "$service.isolated.count == 0 and w != NONE",
        "0",
    ),
    bug(
        "a busy worker is never reserved for what is isolated",
        "has_work_for",
        "$service.reserved == NONE",
        "0",
    ),
    bug(
        "a worker that holds nothing any more stays among the busy ones",
        "credit_give",
        "$worker.listed != LISTED_BUSY or $worker.held == 0",
        "$worker.listed != LISTED_BUSY",
    ),
    step(
        "a new request waits beside a worker because an isolated one waits",
        "request_accept",
        "service_unmatched(...)",
    ),
    # tokens, answers, attempts
    bug("the token of another worker counts", "task_of", "$task.worker != w", "0"),
    step("a worker without the right may still answer", "disp_worker_void", "tasks_void(...)"),
    step("the old token counts after a redelivery", "dispatch", "request_drop_task(...)"),
    bug(
        "a task that was undone is taken for the one that came after it",
        "disp_unsent",
        "$task.token == token",
        "1",
    ),
    bug(
        "one attempt more than the limit",
        "request_lost",
        "$request.attempts < $limits.attempts_max",
        "$request.attempts <= $limits.attempts_max",
    ),
    step("a released attempt counts", "task_release", "$request.attempts -= 1"),
    step(
        "lost requests go to the tail",
        "request_return",
        "waiting_enter($d, $r, ...)",
        "waiting_enter($d, $r, 1)",  # QUEUED_FRESH
    ),
    step("a token listed once is listed for ever", "tasks_compare", "$task.marks &= ~MARK_LISTED"),
    bug(
        "a new route's list is believed for other workers' tasks",
        "token_held",
        "$task.worker != w",
        "0",
    ),
    # sessions
    bug(
        "a kept answer is not delivered again",
        "known_result",
        "$request.state == REQUEST_ANSWERED",
        "1",
    ),
    bug(
        "a retry of the last request runs twice",
        "disp_request",
        "id <= $client.highest",
        "id < $client.highest",
    ),
    bug(
        "done is taken to include its own id",
        "known_result",
        "id < $client.done",
        "id <= $client.done",
    ),
    bug(
        "done frees one request too many",
        "disp_client_done",
        "first <= $request.id < done",
        "first <= $request.id <= done",
    ),
    step("the grace goes on for a client that is back", "disp_client_back", "disarm(...)"),
    bug(
        "one open request more than the session may have",
        "refusal",
        "$client.open >= $client.window",
        "$client.open > $client.window",
    ),
    bug(
        "one more waits than may",
        "refusal",
        "$counters.waiting >= $limits.waiting_max",
        "$counters.waiting > $limits.waiting_max",
    ),
    bug(
        "services without workers fill the queue",
        "workerless_refusal",
        "$shares.workerless >= $limits.waiting_max // 2",
        "0",
    ),
    bug(
        "services without workers fill their client's window",
        "window_full",
        "$client.open >= $client.window - ($client.window >> 2)",
        "0",
    ),
    step(
        "what waits for a service that has a worker by now counts as waiting in vain",
        "service_offered",
        "$shares.workerless -= $service.waiting",
    ),
    bug(
        "names that nobody offers take the room of services",
        "names",
        "$d.service_pool.used - ...",
        "$d.service_pool.used",
        "uint32_t",
    ),
    bug("clients in their grace make no room", "disp_client_room", "$timers.graces.count > 0", "0"),
    step("a client of the reserve stays one", "client_joins", "$client.reserve = 0"),
    step("bytes are not given back", "waiting_leave", "$d.counters.waiting_bytes -= ..."),
    bug(
        "bytes of running requests do not count",
        "open_bytes",
        "$counters.waiting_bytes + $counters.running_bytes",
        "$counters.waiting_bytes",
        "uint64_t",
    ),
    bug(
        "kept answers are dropped at the limit, not beyond it",
        "kept_evict",
        "$d.counters.kept_bytes > bytes",
        "$d.counters.kept_bytes >= bytes and $d.kept.head != NONE",
    ),
    bug(
        "the memory is full, yet requests come in",
        "refusal",
        "unlikely($d.full) and result == REQ_ACCEPTED",
        "0",
    ),
    step(
        "memory that was full once is full for ever",
        "disp_full",
        "$d.full = full",
        "$d.full |= full",
    ),
    step(
        "the newest kept answer goes first",
        "kept_evict",
        "request_free(d, $d.kept.head)",
        "request_free(d, $d.kept.tail)",
    ),
    step("all kept answers go at once", "disp_evict", "kept_evict(...)", "kept_evict(d, 0)"),
    # time
    bug(
        "timers fire one tick late",
        "due",
        "$node.key <= now",
        "$node.key < now",
    ),
    step("an ended request expires", "request_stop", "disarm(...)"),
    step("a lease outlives its task", "running_leave", "disarm(...)"),
    step("a task taken up again has no lease", "token_held", "lease_start(...)"),
    bug(
        "the broker's own pause counts as silence",
        "silence",
        "$worker.last_heard + $worker.liveness_ns - live",
        "$worker.last_heard + $worker.liveness_ns - d.now",
        "int64_t",
    ),
    bug(
        "a worker that computes is taken for dead",
        "silence",
        "$worker.mode == LIVENESS_IDLE and $worker.held > 0",
        "0",
    ),
    step("a heartbeat is no sign of life", "disp_heard", "$worker.last_heard = live"),
    step("a service is given up though a worker came", "offer_make", "disarm(...)"),
    bug(
        "what was given back goes out at once",
        "disp_release",
        "now + delay_ns",
        "now",
        type="int64_t",
    ),
    step("a delay is over and its request not looked at", "delay_over", "service_unmatched(...)"),
    step(
        "a request that was delayed once is taken for delayed",
        "queue_leave",
        "service.delayed -= 1",
    ),
    # tasks of other epochs
    bug("what is held back goes out at once", "request_accept", "unlikely(hold_ns > 0)", "0"),
    bug("what is held back goes to who is free", "disp_request", "likely(hold_ns == 0)", "1"),
    step("a claim that runs holds no credit", "claim_update", "credit_take(...)"),
    step("an answered claim keeps its credit", "claim_update", "credit_give(...)"),
    step(
        "claims come on top of what the worker was not sent yet", "claims_enter", "tasks_undo(...)"
    ),
    bug("a claim joins an isolated task", "claims_enter", "$worker.isolating", "0"),
    bug(
        "claims that fit take back what was not sent",
        "claims_enter",
        "$worker.held > $worker.capacity",
        "1",
    ),
    step("who gave nothing up is not looked at", "disp_claims", "worker_file(...)"),
    bug("a worker may claim another's", "claim_state", "$task.worker != w", "0"),
    bug(
        "a worker may claim what is given out next",
        "claim_state",
        "(token - $d.next_token) >> AHEAD_SHIFT == 0",
        "0",
    ),
    bug(
        "an orphan is taken for what goes on",
        "claim_state",
        "$task.request != NONE",
        "1",
    ),
    bug("an answer to a claim counts", "task_of", "$task.state != TASK_SENT", "0"),
    bug(
        "a claim that is listed on a new route is cancelled",
        "token_held",
        "$task.state == TASK_UNSENT",
        "$task.state != TASK_SENT",
    ),
    bug(
        "a claim that is listed on the same route is cancelled",
        "token_over",
        "$task.state == TASK_CLAIMED",
        "0",
    ),
    bug(
        "a claim that is not listed on the same route stays",
        "claims_compare",
        "$task.state == TASK_CLAIMED",
        "0",
    ),
    bug(
        "what was lost twice adopts, and is not alone",
        "adopts",
        "$request.attempts < ATTEMPTS_SHARED",
        "1",
    ),
    bug(
        "a request whose old task counts still adopts another",
        "adopts",
        "$request.task == NONE",
        "1",
    ),
    bug("a request that runs adopts", "adopts", "$request.state == REQUEST_WAITING", "1"),
    bug(
        "a worker that does not offer the service serves it",
        "disp_adopt",
        "not offers(d, w, $request.service)",
        "0",
    ),
    step("what was adopted waits still", "claim_adopt", "waiting_leave(...)"),
    step("what was adopted has no lease", "claim_adopt", "lease_start(...)"),
    step("an adopted task is still a claim", "claim_adopt", "$task.state = TASK_SENT"),
    step("a claim that is dropped stays", "disp_claim_drop", "task_free(...)"),
    # the leaves
    step(
        "a removal only sinks what fills the gap",
        "heap_remove",
        "heap_fix(h, places, i, last)",
        "heap_down(h, places, i, last)",
    ),
    step("a list forgets its new tail", "queue_remove", "$q.tail = $link.prev"),
    bug("whoever comes late is last", "lru_enter", "lru_entry_of(entries, $tail).key < key", "1"),
    bug("those who came late are forgotten", "lru_first", "$r.late.count == 0", "1"),
    bug(
        "those who came late wait for all others",
        "lru_first",
        "node_less($r.late.nodes[0], head)",
        "0",
    ),
)
