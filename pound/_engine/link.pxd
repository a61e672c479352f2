# The rules of a link: how a client or worker finds a broker, keeps it, and leaves it for another.
#
# Decisions only. Events come in with the time (`now`, ns, monotonic); what is to be done comes out
# as actions, in order. socket.pyx carries them out over libzmq, tests/simulation/links.py over a
# modelled network.
#
# The life of a link: an endpoint is opened. HELLO or READY is sent as soon as a connection stands,
# and each second until WELCOME. When the connection breaks, libzmq makes it again and the link
# greets again. An endpoint that refuses, is silent or says BYE is left: for another address of its
# name, for the next of the list, or, if it is the only one, for itself after a rest. (One that had
# let us in may refuse for REFUSED_NS: a broker that is started again keeps its peers.) So is one
# that *denies* us: it answers, and does not let us in with our key. Once every endpoint of the list
# has, the link is `barred`: nobody waits for it, and it tries again ever more rarely.
#
# The first endpoint is the preferred one, so that all who have the same list meet. A link that is
# welcomed elsewhere has it looked at from time to time. After two looks that found it serving the
# link *wants home*, and whoever uses it chooses the moment (link_go_home).
#
# Invariants:
# - The actions of an event are carried out before the next event comes.
# - `welcomed` holds from a WELCOME until the connection breaks, the broker forgets us (BYE 0, a new
#   epoch) or the endpoint is left. Whoever sent something before the next WELCOME sends it again
#   after it: a broken connection may have lost it.
# - An endpoint is given TURN_PAUSE_NS at least, and one that is the only one and said BYE is left
#   alone for as long as it asked; greetings that are answered by BYE 0 are that far apart, too:
#   nothing can become a storm. Denials are a second apart once each endpoint has denied us, then
#   twice as long each time, up to DENIED_REST_MAX_MS.
# - `barred` holds from the denial that completes the list until a WELCOME, or until an endpoint is
#   not reached at all or says "not now": never together with `welcomed`.
# - Silence counts from the last packet or the opening; a pause of our own process is no silence.
# - A link that is welcomed by its first endpoint has nothing looked at. Each time that it went
#   there in vain, it waits twice as long before the next look, up to HOME_WAIT_MAX_MS.
#
# Memory: the endpoints are owned; reasons are static texts.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset, strncmp

from pound._base.check cimport CHECK
from pound._wire.packets cimport BYE_GOING, BYE_UNKNOWN, SESSION_SIZE, record_t
from .endpoints cimport (
    endpoint_is_name, endpoint_name, endpoint_t, endpoints_first, endpoints_free, endpoints_init,
    endpoints_next, endpoints_t, endpoints_turn, is_inproc)

cdef extern from "pound/_base/atomics.h" nogil:
    uint64_t draw(uint64_t *state)

cdef extern from "pound/_base/clock.h" nogil:
    const int64_t FAR "POUND_FAR"        # a time that never comes

cdef enum:
    WELCOME_LIVENESS_MAX = 1000  # so that no sum of times overflows, whatever a broker says
    GREETING_NS = 1000000000   # between two greetings until WELCOME
    REST_NS = 1000000000       # away from a broker that said BYE without saying for how long
    BRIEF_NS = 1000000000      # a connection that breaks sooner after WELCOME: we are turned away
    TURN_PAUSE_NS = 250000000  # that an endpoint is given at least
    REFUSED_NS = 1000000000    # that one may refuse after a connection to it was lost
    DENIED_DOUBLINGS = 5       # of the rest, a second at first, after denials
    DENIED_REST_MAX_MS = 30000
    DENIED_LASTS_MS = 10000    # a WELCOME that long before a denial: it counts as the first
    MS = 1000000               # in ns
    FAILURES_MAX = 3           # handshakes in a row that end without a reason: that is one
    FAILURES_KNOWN_MAX = 100   # the same if a broker let us in before: a proxy may accept for it
    ROOMY_MIN = 2              # looks that found room, or the broker may have been full
    HOME_LOOKS = 2             # in a row that find the preferred endpoint serving: we go there
    HOME_PAUSE_NS = 2000000000  # until the first look at it, and from the first of two to the next
    HOME_PAUSE_MAX_MS = 10000  # between looks
    HOME_WAIT_MAX_MS = 60000   # until the first look, after it was in vain
    HOME_LASTS_MS = 30000      # that it has to keep us, or it was in vain
    ACTIONS_MAX = 8            # of one event

cdef enum link_action:
    LINK_OPEN = 1              # connect to the endpoint in use by a new socket
    LINK_CLOSE                 # close the socket, and drop what it did not send
    LINK_PART                  # close the socket, which still sends what it took
    LINK_DROP                  # drop what the socket did not take: it is sent again after WELCOME
    LINK_LOG_FOUND
    LINK_LOG_LOST              # with a reason
    LINK_DENIED                # with `denial`: the endpoint does not let us in

cdef enum denial_t:            # why an endpoint does not let us in
    DENIED_NOT
    DENIED_KEY                 # not with this key: it is unknown, revoked, expired, another role's
    DENIED_MECHANISM           # one of us wants CURVE, the other has no keys
    DENIED_HANDSHAKE           # it can't be finished: the broker's key is another one
    DENIED_RECORD              # ERROR about ourselves, in the broker's words
    DENIED_NOW                 # not now; later perhaps

cdef enum finding_t:              # what a look at an endpoint found
    FOUND_NOTHING
    FOUND_FOREIGN               # it has keys and we have none, or the other way round
    FOUND_FULL                  # it cuts a connection that has said nothing yet
    FOUND_ROOM                 # it lets one stay for a while

cdef struct link_action_t:
    link_action kind
    const char *endpoint       # the one meant, as it was given
    const char *reason         # static
    uint8_t brief              # the connection was brief, and the ones before it
    uint8_t denial             # denial_t

cdef struct broker_limits_t:   # what the broker allows; the protocol's defaults at first
    uint32_t body_bytes_max
    uint32_t packet_bytes_max
    uint32_t frames_max
    uint32_t requests_max
    uint32_t features          # feature_t: what it does

cdef struct link_rates_t:
    int64_t own_heartbeat      # ns, this and the two below
    int64_t heartbeat          # the shorter one of ours and the broker's
    int64_t silence            # after which the broker counts as gone
    uint32_t own_liveness
    uint8_t follows            # judges silence by the rates of WELCOME (a worker)

cdef struct link_door_t:       # how endpoints let us in
    uint8_t barred             # every endpoint denies us: what waits for the link fails
    uint8_t denial             # denial_t: the last one, since an endpoint did anything else
    uint32_t denials           # in a row, in whatever words: for how long to rest
    uint32_t verdicts          # those of them that were no "not now"
    int64_t denied_at          # ns, monotonic

cdef struct link_life_t:       # of one socket
    uint32_t handshakes
    int64_t opened_at          # ns, monotonic, this and the one below
    int64_t broken_at          # when its last connection was lost

cdef struct link_home_t:       # the way back to the preferred endpoint
    int64_t look_at            # when it is to be looked at; FAR: we are there, or nowhere
    int64_t pause              # until the next look
    int64_t wait               # from WELCOME to the first look
    int64_t came_at            # when it welcomed us after we went; FAR: it has not
    uint32_t served            # looks in a row that found it serving
    uint8_t looks              # one was begun, and nothing heard of it yet
    uint8_t went               # we went there, and were welcomed nowhere else since

cdef struct link_state_t:
    endpoints_t endpoints      # the list, and which of it is in use
    uint8_t session[16]        # a secret between the broker and us: never logged
    uint8_t epoch[16]          # of the last broker; 0 until there was one
    uint8_t has_epoch
    uint8_t is_open            # there is a socket
    uint8_t is_inproc          # there is no connection that could be lost
    uint8_t up                 # a connection stands (inproc: always)
    uint8_t welcomed
    uint8_t brief              # the last welcome did not last: the next may not either
    uint8_t leaving            # we said BYE: to lose the broker needs no log line any more
    uint8_t wants_out          # something is to be sent as soon as the socket takes it
    uint8_t reopen             # after the rest
    uint32_t lives             # sockets that were closed
    broker_limits_t limits
    link_rates_t rates
    link_door_t door
    link_home_t home
    link_life_t life
    int64_t heard_at           # ns, monotonic, this and those below
    int64_t welcomed_at
    int64_t said_at            # when a packet was written last
    int64_t beat_at            # when a HEARTBEAT was due last
    int64_t woke_at            # when the last turn began
    int64_t resting_until
    int64_t greet_at           # FAR: no greeting is due
    int64_t greeted_at         # on this connection; 0: not yet
    const char *lost           # why the broker was lost last, static; NULL: never found
    link_action_t actions[ACTIONS_MAX]
    uint32_t actions_count
    uint64_t dice


# --- limits --------------------------------------------------------------------------------

cdef inline void limits_default(broker_limits_t *limits) noexcept nogil:
    limits.body_bytes_max = 67108864
    limits.packet_bytes_max = 1048576
    limits.frames_max = 1024
    limits.requests_max = 65536
    limits.features = 0


# limits_allow says whether a packet that has records takes one more: of `size` bytes and `attached`
# frames, behind `bytes` and `frames`. A record beyond the limits travels alone.
cdef inline bint limits_allow(
    const broker_limits_t *limits, uint64_t bytes, uint32_t frames, uint64_t size, uint32_t attached
) noexcept nogil:
    return bytes + size <= limits.packet_bytes_max and frames + attached < limits.frames_max


# --- begin and end -------------------------------------------------------------------------

# link_init takes the rates (ns) and copies the endpoints: 0, or -1: no memory, and link_free is to
# be called.
cdef inline int link_init(
    link_state_t *l, const char **endpoints, uint32_t count, int64_t heartbeat, uint32_t liveness,
    uint8_t follows, const uint8_t *session, uint64_t dice,
) noexcept nogil:
    memset(l, 0, sizeof(link_state_t))
    l.greet_at = l.home.look_at = FAR
    l.home.wait = HOME_PAUSE_NS
    l.dice = dice
    l.rates.heartbeat = l.rates.own_heartbeat = heartbeat
    l.rates.own_liveness = liveness
    l.rates.silence = heartbeat * liveness
    l.rates.follows = follows
    memcpy(l.session, session, SESSION_SIZE)
    limits_default(&l.limits)
    return endpoints_init(&l.endpoints, endpoints, count)


cdef inline void link_free(link_state_t *l) noexcept nogil:
    endpoints_free(&l.endpoints)


# --- small things --------------------------------------------------------------------------

# link_jitter returns ns, a quarter more or less, so that many peers don't speak at once.
cdef inline int64_t link_jitter(link_state_t *l, int64_t ns) noexcept nogil:
    return ns - ns // 4 + <int64_t>(draw(&l.dice) % <uint64_t>(ns // 2 + 1))


cdef inline void act(link_state_t *l, link_action kind, const char *reason) noexcept nogil:
    cdef link_action_t *action = &l.actions[l.actions_count]
    CHECK(l.actions_count < ACTIONS_MAX, "%u actions of one event", l.actions_count)
    action.kind = kind
    action.endpoint = endpoint_name(&l.endpoints)
    action.reason = reason
    action.brief = l.brief
    action.denial = l.door.denial
    l.actions_count += 1


cdef inline bint link_resting(const link_state_t *l, int64_t now) noexcept nogil:
    return now < l.resting_until


# --- opening and leaving -------------------------------------------------------------------

cdef inline void rest(link_state_t *l, int64_t until) noexcept nogil:
    l.resting_until = until
    l.reopen = 1
    l.greet_at = FAR


cdef inline void lose(link_state_t *l, const char *reason) noexcept nogil:
    if l.welcomed:
        l.lost = reason
        if not l.leaving:
            act(l, LINK_LOG_LOST, reason)
    l.welcomed = 0
    l.home.look_at = FAR


# end_socket closes the socket, if there is one, by LINK_CLOSE or LINK_PART.
cdef inline void end_socket(link_state_t *l, link_action how) noexcept nogil:
    l.up = l.welcomed = 0
    l.greeted_at = 0
    l.home.look_at = FAR
    l.lives += 1
    if l.is_open:
        act(l, how, NULL)
    l.is_open = 0


# link_close closes the socket, if there is one.
cdef inline void link_close(link_state_t *l) noexcept nogil:
    end_socket(l, LINK_CLOSE)


# link_open connects to the endpoint in use, by a new socket.
cdef inline void link_open(link_state_t *l, int64_t now) noexcept nogil:
    link_close(l)
    l.life.opened_at = l.heard_at = l.greet_at = now
    l.resting_until = 0
    l.life.handshakes = 0
    l.reopen = 0
    l.is_open = 1
    l.up = l.is_inproc = is_inproc(&l.endpoints, l.endpoints.at)
    act(l, LINK_OPEN, NULL)


# link_open_failed: there is no socket, perhaps for want of descriptors.
cdef inline void link_open_failed(link_state_t *l, int64_t now) noexcept nogil:
    l.is_open = l.up = 0
    rest(l, now + REST_NS)


# has_others says whether there is anything else to try.
cdef inline bint has_others(const link_state_t *l) noexcept nogil:
    return l.endpoints.count > 1 or endpoint_is_name(&l.endpoints)


# admit forgets that an endpoint denied us: this one, or another one, did something else.
cdef inline void admit(link_state_t *l) noexcept nogil:
    l.door.denial = DENIED_NOT
    l.door.barred = 0


# reopen opens the endpoint that was chosen, once the one before has been given its time.
cdef inline void reopen(link_state_t *l, int64_t now) noexcept nogil:
    rest(l, l.life.opened_at + TURN_PAUSE_NS)
    if not link_resting(l, now):
        link_open(l, now)


# turn leaves this endpoint for another address of its name, for the next one, or for itself when it
# is the only one.
cdef inline void turn(link_state_t *l, int64_t now, const char *reason) noexcept nogil:
    lose(l, reason)
    admit(l)
    if endpoints_turn(&l.endpoints):
        l.brief = 0
    link_close(l)
    reopen(l, now)


# --- home: the preferred endpoint ----------------------------------------------------------

# home_welcomed notes a first WELCOME. Elsewhere than at home it begins the looks.
cdef inline void home_welcomed(link_state_t *l, int64_t now) noexcept nogil:
    cdef link_home_t *h = &l.home
    if l.endpoints.at == 0:
        h.came_at = min(h.came_at, now)
        return
    if h.went and now - h.came_at < <int64_t>HOME_LASTS_MS * MS:
        h.wait = min(2 * h.wait, <int64_t>HOME_WAIT_MAX_MS * MS)
    else:
        h.wait = HOME_PAUSE_NS
    h.went = h.looks = h.served = 0
    h.pause = HOME_PAUSE_NS
    if not is_inproc(&l.endpoints, 0):
        h.look_at = now + link_jitter(l, h.wait)


# link_looks_home says whether the preferred endpoint is to be looked at; the look counts as begun.
cdef inline bint link_looks_home(link_state_t *l, int64_t now) noexcept nogil:
    cdef link_home_t *h = &l.home
    if now < h.look_at:
        return 0
    h.looks = 1
    h.look_at = now + link_jitter(l, h.pause)
    h.pause = min(h.pause + HOME_PAUSE_NS, <int64_t>HOME_PAUSE_MAX_MS * MS)
    return 1


# home_looked notes what a look has found. The second look that finds it serving comes soon.
cdef inline void home_looked(link_state_t *l, bint serves, int64_t now) noexcept nogil:
    cdef link_home_t *h = &l.home
    h.looks = 0
    h.served = h.served + 1 if serves else 0
    if h.served == 1:
        h.pause = HOME_PAUSE_NS
        h.look_at = min(h.look_at, now + link_jitter(l, HOME_PAUSE_NS))


# link_wants_home says whether a link is welcomed elsewhere and should go to the preferred endpoint.
cdef inline bint link_wants_home(const link_state_t *l) noexcept nogil:
    return l.home.look_at != FAR and l.home.served >= HOME_LOOKS


# link_go_home leaves this endpoint for the preferred one; what was said here is still sent.
cdef inline void link_go_home(link_state_t *l, int64_t now) noexcept nogil:
    lose(l, b"preferred")
    l.home.went = 1
    l.home.came_at = FAR
    l.brief = 0
    end_socket(l, LINK_PART)
    endpoints_first(&l.endpoints)
    reopen(l, now)


# --- events: the connection ----------------------------------------------------------------

# link_disconnected: a broker that turns us away twice, by closing soon after its WELCOME, has no
# room for us; another one may have.
cdef inline void link_disconnected(link_state_t *l, int64_t now) noexcept nogil:
    cdef bint before = l.brief
    cdef bint brief = l.welcomed and now - l.welcomed_at < BRIEF_NS
    l.life.broken_at = now if l.up else l.life.broken_at
    l.up = 0
    l.greeted_at = 0
    l.brief = before or brief
    lose(l, b"disconnected")
    if before and brief and has_others(l):
        turn(l, now, b"disconnected")
        l.brief = 1


# link_forgotten greets anew: the broker does not know us, or not by this route. If that answers a
# greeting, the next one is not sent at once: the two would do nothing else.
cdef inline void link_forgotten(link_state_t *l, int64_t now, const char *reason) noexcept nogil:
    cdef bint answers = l.greeted_at != 0 and not l.welcomed
    lose(l, reason)
    if l.is_open:
        l.resting_until = 0
        l.reopen = 0
        l.greet_at = max(now, l.greeted_at + TURN_PAUSE_NS) if answers else now


# endpoint_forgive: what failed there says nothing about our key: it let us in, or it was full.
cdef inline void endpoint_forgive(endpoint_t *endpoint) noexcept nogil:
    endpoint.failures = endpoint.roomy = 0


# link_connected: a connection stands. If it is not the socket's first one, what the socket did not
# take is dropped, or it would be sent before the greeting.
cdef inline void link_connected(link_state_t *l, int64_t now) noexcept nogil:
    l.up = 1
    l.greeted_at = 0
    l.life.handshakes += 1
    l.endpoints.all[l.endpoints.at].foreign = 0
    endpoint_forgive(&l.endpoints.all[l.endpoints.at])
    if l.life.handshakes > 1:
        act(l, LINK_DROP, NULL)
        link_forgotten(l, now, b"reconnected")


# link_refused: libzmq failed to connect, or the handshake did, and it will try again. It says so
# of a lost connection, too.
cdef inline void link_refused(link_state_t *l, int64_t now) noexcept nogil:
    cdef bint for_good = l.life.handshakes == 0 or now - l.life.broken_at >= REFUSED_NS
    admit(l)
    if for_good and not l.reopen and has_others(l):
        turn(l, now, b"refused")


# --- events: the door ----------------------------------------------------------------------

# denied_rest returns for how long to stay away: not at all from the next endpoint of a list.
cdef inline int64_t denied_rest(link_state_t *l) noexcept nogil:
    cdef uint32_t rounds = l.door.denials // l.endpoints.count
    cdef int64_t ns = REST_NS
    if l.door.denials % l.endpoints.count:
        return 0
    ns <<= min(rounds - 1, <uint32_t>DENIED_DOUBLINGS)
    return link_jitter(l, min(ns, <int64_t>DENIED_REST_MAX_MS * MS))


# link_denied: the endpoint answers, and does not let us in. libzmq would not try this socket again.
cdef inline void link_denied(link_state_t *l, denial_t denial, int64_t now) noexcept nogil:
    if l.welcomed_at > l.door.denied_at and now - l.welcomed_at >= <int64_t>DENIED_LASTS_MS * MS:
        l.door.denials = l.door.verdicts = 0
    l.door.denied_at = now
    l.door.denials += 1
    l.door.verdicts = 0 if denial == DENIED_NOW else l.door.verdicts + 1
    l.door.denial = denial
    l.door.barred = l.door.verdicts >= l.endpoints.count
    lose(l, b"denied")
    act(l, LINK_DENIED, NULL)
    link_close(l)
    endpoints_next(&l.endpoints)
    rest(l, max(now + denied_rest(l), l.life.opened_at + TURN_PAUSE_NS))


# link_failed: a handshake ended and nobody said why. It is a denial at an endpoint that wants the
# other mechanism and, with a key, when it happens again and again while the broker has room: one
# that is full cuts connections, too.
cdef inline void link_failed(link_state_t *l, bint has_key, int64_t now) noexcept nogil:
    cdef endpoint_t *endpoint = &l.endpoints.all[l.endpoints.at]
    cdef uint32_t most = FAILURES_KNOWN_MAX if l.has_epoch else FAILURES_MAX
    endpoint.failures += 1
    if endpoint.foreign:
        link_denied(l, DENIED_MECHANISM, now)
    elif has_key and endpoint.failures >= most and endpoint.roomy >= ROOMY_MIN:
        link_denied(l, DENIED_HANDSHAKE, now)


# link_looked: an endpoint was looked at. libzmq may not tell of the wrong mechanism: it closes a
# connection before it knows why.
cdef inline void link_looked(
    link_state_t *l, uint32_t endpoint, finding_t found, int64_t now
) noexcept nogil:
    cdef bint foreign = found == FOUND_FOREIGN
    cdef bint homes = endpoint == 0 and l.home.looks and l.home.look_at != FAR
    l.endpoints.all[endpoint].foreign = foreign
    if homes:
        home_looked(l, found == FOUND_ROOM, now)
    if found == FOUND_FULL:
        endpoint_forgive(&l.endpoints.all[endpoint])
    elif found == FOUND_ROOM and not homes:
        l.endpoints.all[endpoint].roomy += 1
    if foreign and endpoint == l.endpoints.at and l.is_open and not l.up:
        link_denied(l, DENIED_MECHANISM, now)


# --- events: what the broker says ----------------------------------------------------------

# link_packet notes a sound packet of an epoch: 1: the broker is another one than before.
cdef inline bint link_packet(link_state_t *l, const uint8_t *epoch, int64_t now) noexcept nogil:
    cdef bint had = l.has_epoch
    if l.welcomed:
        l.heard_at = now
    if had and memcmp(l.epoch, epoch, SESSION_SIZE) == 0:
        return 0
    if had:
        link_forgotten(l, now, b"epoch changed")
    memcpy(l.epoch, epoch, SESSION_SIZE)
    l.has_epoch = 1
    return had


# link_welcome: 1: the link is welcomed. 0: the WELCOME came by a connection that has broken since,
# and was read late.
cdef inline bint link_welcome(link_state_t *l, const record_t *record, int64_t now) noexcept nogil:
    cdef int64_t heartbeat = record.heartbeat_ms * <int64_t>1000000
    if l.greeted_at == 0:
        return 0
    if not l.welcomed:
        l.welcomed_at = now
        home_welcomed(l, now)
        if not l.brief:
            act(l, LINK_LOG_FOUND, NULL)
    l.welcomed = 1
    admit(l)
    l.heard_at = now
    l.resting_until = 0
    l.reopen = 0
    l.greet_at = FAR
    l.limits.body_bytes_max = record.body_bytes_max
    l.limits.packet_bytes_max = max(1, record.packet_bytes_max)
    l.limits.frames_max = max(2, record.frames_max)
    l.limits.requests_max = max(1, record.requests_max)
    l.limits.features = record.features
    if heartbeat == 0:
        heartbeat = l.rates.own_heartbeat
    l.rates.heartbeat = min(l.rates.own_heartbeat, heartbeat)
    l.rates.silence = l.rates.heartbeat * l.rates.own_liveness
    if l.rates.follows:
        l.rates.silence = heartbeat * min(max(record.liveness, 1), WELCOME_LIVENESS_MAX)
    return 1


# link_bye: BYE 0 greets again; BYE 1 turns to the next endpoint, or to this one after a while.
cdef inline void link_bye(
    link_state_t *l, uint16_t code, uint32_t retry_after_ms, int64_t now
) noexcept nogil:
    cdef int64_t away
    if code == BYE_UNKNOWN:
        link_forgotten(l, now, b"unknown to it")
    elif code == BYE_GOING and l.endpoints.count > 1:
        turn(l, now, b"bye")
    elif code == BYE_GOING:
        away = retry_after_ms * <int64_t>1000000 if retry_after_ms else REST_NS
        rest(l, max(now + link_jitter(l, away), l.life.opened_at + TURN_PAUSE_NS))


# --- events: time --------------------------------------------------------------------------

# link_wake begins a turn, `planned` ns after the last one at most: what is beyond that and a
# heartbeat was a pause of our own (a stopped process), not the broker's silence.
cdef inline void link_wake(link_state_t *l, int64_t planned, int64_t now) noexcept nogil:
    cdef int64_t pause = now - l.woke_at - planned - l.rates.heartbeat
    if l.woke_at and pause > 0:
        l.heard_at += pause
    l.woke_at = now


# link_tick opens the socket again when a rest is over, and leaves an endpoint that is silent.
cdef inline void link_tick(link_state_t *l, int64_t now) noexcept nogil:
    if l.brief and l.welcomed and now - l.welcomed_at >= BRIEF_NS:
        l.brief = 0
        act(l, LINK_LOG_FOUND, NULL)
    if link_resting(l, now):
        return
    if l.reopen:
        link_open(l, now)
    elif now - l.heard_at >= l.rates.silence:
        turn(l, now, b"silent")


# link_next_due is when link_tick, or a greeting, has something to do.
cdef inline int64_t link_next_due(const link_state_t *l) noexcept nogil:
    cdef int64_t due = l.heard_at + l.rates.silence
    if l.reopen:
        return l.resting_until
    due = min(due, l.home.look_at)
    if l.brief and l.welcomed:
        due = min(due, l.welcomed_at + BRIEF_NS)
    return due if l.wants_out else min(due, l.greet_at)


# --- what is sent --------------------------------------------------------------------------

# link_greets says whether HELLO or READY belongs into this turn's packet; it counts as sent then.
cdef inline bint link_greets(link_state_t *l, int64_t now) noexcept nogil:
    if now < l.greet_at:
        return 0
    l.greeted_at = now
    l.greet_at = FAR if l.welcomed else now + link_jitter(l, GREETING_NS)
    return 1


cdef inline void link_greet_again(link_state_t *l, int64_t now) noexcept nogil:
    l.greet_at = min(l.greet_at, now)


# link_next_beat is when a HEARTBEAT is due: a worker's when nothing was sent for a heartbeat, a
# client's, which asks for an answer, when nothing was heard for one.
cdef inline int64_t link_next_beat(const link_state_t *l) noexcept nogil:
    cdef int64_t since = l.said_at if l.rates.follows else l.heard_at
    return max(since, l.beat_at) + l.rates.heartbeat
