# Why a request, a service name or a READY is refused: each reason in words, with the limit and the
# remedy. PND peers are sent them; for other peers they are logged.

from libc.stdint cimport uint16_t

from pound._dispatch.model cimport (
    REQ_BUSY, REQ_BUSY_BYTES, REQ_BUSY_CLIENTS, REQ_BUSY_MEMORY, REQ_BUSY_SERVICE, REQ_BUSY_SESSION,
    REQ_BUSY_SHARE, REQ_BUSY_UNREAD, REQ_BUSY_WINDOW, REQ_BUSY_WORKERLESS, REQ_MANY_NAMES,
    REQ_MANY_OWN_NAMES, REQ_MANY_SERVICES, REQ_NO_SERVICE, REQ_QUOTA_BYTES, REQ_QUOTA_OPEN,
    REQ_QUOTA_RATE, REQ_SERVICE_QUOTA_BYTES, REQ_SERVICE_QUOTA_OPEN, REQ_SERVICE_QUOTA_RATE)
from pound._wire.codes cimport CODE_PERMISSION_DENIED, CODE_UNAUTHENTICATED


cdef enum refusal_t:         # beyond request_result: these the dispatcher is not asked about
    REFUSED_DRAINING = 64
    REFUSED_ONE_PART
    REFUSED_RESERVED         # a name of the broker's own
    REFUSED_BODY             # it is too large
    REFUSED_DURABLE
    REFUSED_WORKERS          # there are as many as may be, or no memory
    # With keys: what a connection proved does not reach. The first ones concern all that it says.
    REFUSED_UNPROVEN         # it proved nothing
    REFUSED_KEY_GONE         # its key was revoked, or removed
    REFUSED_KEY_EXPIRED
    REFUSED_LISTENER         # its key has none of the roles that the listener allows
    REFUSED_DIALECT          # the listener does not allow it
    REFUSED_SESSION          # it is another identity's
    REFUSED_GREETING         # it lacks the roles that may greet, or ask for mmi
    REFUSED_CLIENT           # it lacks the role
    REFUSED_WORKER
    REFUSED_OPERATOR
    REFUSED_SERVICE          # its key may not use it
    REFUSED_END              # one past the last


cdef inline bint is_denial(int result) noexcept nogil:
    """is_denial says whether what a connection proved is the reason."""
    return REFUSED_UNPROVEN <= result <= REFUSED_SERVICE


cdef inline uint16_t denial_code(int result) noexcept nogil:
    """denial_code gives the error code of a denial."""
    return CODE_PERMISSION_DENIED if result == REFUSED_SERVICE else CODE_UNAUTHENTICATED


cdef inline const char *denial_of(int result) noexcept nogil:
    """denial_of is reason_of for a denial."""
    if result == REFUSED_UNPROVEN:
        return b"the connection has proved nothing to this broker: connect again"
    if result == REFUSED_KEY_GONE:
        return (b"the key was revoked, or removed from the broker's peers.toml: ask for a new one "
                b"(pound keys add)")
    if result == REFUSED_KEY_EXPIRED:
        return b"the key has expired: ask for a new one (pound keys rotate), or a later 'expires'"
    if result == REFUSED_LISTENER:
        return (b"the key has no role that this listener allows: use another endpoint, or change "
                b"'roles' of the listener or the peer")
    if result == REFUSED_DIALECT:
        return (b"this listener does not allow this dialect: use another endpoint, or add it to "
                b"'dialects' of the listener")
    if result == REFUSED_SESSION:
        return b"this session was opened with another key: begin a new one"
    if result == REFUSED_GREETING:
        return (b"the role 'client' or 'operator' is needed here: use a key and a listener that "
                b"have one (roles in peers.toml and in [[listen]])")
    if result == REFUSED_CLIENT:
        return (b"the role 'client' is needed here: use a key and a listener that have it (roles "
                b"in peers.toml and in [[listen]])")
    if result == REFUSED_WORKER:
        return (b"the role 'worker' is needed here: use a key and a listener that have it (roles "
                b"in peers.toml and in [[listen]])")
    if result == REFUSED_OPERATOR:
        return (b"the role 'operator' is needed here: use a key and a listener that have it "
                b"(roles in peers.toml and in [[listen]])")
    return b"the key may not use this service: add it to 'services' of the peer in peers.toml"


cdef inline const char *refusal_of(int result) noexcept nogil:
    """refusal_of is reason_of for a refusal_t."""
    if result == REFUSED_DRAINING:
        return b"the broker is draining and takes no requests"
    if result == REFUSED_ONE_PART:
        return b"this service takes bodies of exactly one part (one_part)"
    if result == REFUSED_RESERVED:
        return b"the name is reserved for the broker (mmi.*, pound.*)"
    if result == REFUSED_BODY:
        return b"the body is larger than the broker takes (body_bytes_max)"
    if result == REFUSED_DURABLE:
        return b"this broker keeps no durable requests; send it without DURABLE"
    if result == REFUSED_WORKERS:
        return (b"the broker has as many workers as it takes (sessions_max), or is out of memory")
    if is_denial(result):
        return denial_of(result)
    return b"the broker is out of memory"


cdef inline const char *quota_of(int result) noexcept nogil:
    """quota_of is reason_of for a quota: of the client's key, or of each client in a service."""
    if result == REQ_QUOTA_OPEN:
        return (b"this client's key has as many open requests as it may (its open_max; tasks of "
                b"cancelled ones count until they end): try again when some are answered")
    if result == REQ_QUOTA_BYTES:
        return (b"this client's key has as many bytes open as it may (its bytes_max): try again "
                b"when some requests are answered")
    if result == REQ_QUOTA_RATE:
        return b"this client's key asks more often than it may (its rate): send fewer requests"
    if result == REQ_SERVICE_QUOTA_OPEN:
        return (b"this client has as many requests open for this service as one may "
                b"(client_open_max): try again when some are answered")
    if result == REQ_SERVICE_QUOTA_BYTES:
        return (b"this client has as many bytes open for this service as one may "
                b"(client_bytes_max): try again when some requests are answered")
    return (b"this client asks for this service more often than one may (client_rate): send fewer "
            b"requests")


cdef inline const char *reason_of(int result) noexcept nogil:
    """reason_of gives the words for a request_result or refusal_t that refuses."""
    if result == REQ_BUSY:
        return (b"too many requests wait in the broker (waiting_max): try again later, or raise "
                b"that limit")
    if result == REQ_BUSY_SERVICE:
        return (b"too much waits for this service (service_waiting_max, "
                b"service_waiting_bytes_max): try again later, or raise these limits")
    if result == REQ_BUSY_SESSION:
        return (b"this client has as many open requests as it may (requests_max; of a foreign "
                b"dialect: foreign_window)")
    if result == REQ_NO_SERVICE:
        return b"no worker offers this service"
    if result == REQ_BUSY_BYTES:
        return (b"the bodies of open requests fill the broker (waiting_bytes_max): try again "
                b"when some are answered, or raise that limit")
    if result == REQ_BUSY_MEMORY:
        return (b"the broker holds nearly as much as it may (memory_max): try again when its "
                b"clients have read their answers, or raise that limit")
    if result == REQ_BUSY_UNREAD:
        return (b"this client leaves too many bytes of answers unread (undelivered_bytes_max), or "
                b"asks for pages of the broker faster than they are written: read, then try again")
    if result == REQ_BUSY_SHARE:
        return (b"this client has its share of what may be open (of waiting_max and "
                b"waiting_bytes_max the last eighth is for others): try again when some are "
                b"answered")
    if result == REQ_BUSY_WORKERLESS:
        return (b"no worker offers this service, and half of waiting_max or waiting_bytes_max "
                b"waits for such services: start a worker")
    if result == REQ_BUSY_WINDOW:
        return (b"three quarters of this client's requests_max are open, and the rest is for "
                b"services that have workers and less to do: start workers")
    if result == REQ_BUSY_CLIENTS:
        return (b"the broker has as many clients as it takes (sessions_max): try again when some "
                b"have left, or raise that limit")
    if result == REQ_MANY_SERVICES:
        return b"workers offer as many services as the broker takes (services_max)"
    if result == REQ_MANY_NAMES:
        return (b"no worker offers this service, and as many such names as the broker takes are "
                b"asked for (services_max)")
    if result == REQ_MANY_OWN_NAMES:
        return (b"no worker offers this service, and this client asks for as many such names as "
                b"one may: 16, or an eighth of services_max")
    if REQ_QUOTA_OPEN <= result <= REQ_SERVICE_QUOTA_RATE:
        return quota_of(result)
    return refusal_of(result)
