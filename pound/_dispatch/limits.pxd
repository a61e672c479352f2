# The dispatcher's limits and their default values, each with its reason. They bound all memory that
# peers can claim.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef struct limits_t:
    uint32_t attempts_max               # TASKs sent for one request before it fails; 1..255
    uint32_t clients_max                # clients at a time
    uint32_t workers_max                # workers at a time
    uint32_t services_max               # services at a time
    uint64_t waiting_max                # waiting requests, all services together
    uint64_t waiting_bytes_max          # bytes of open requests, waiting or running
    uint64_t service_waiting_max        # waiting requests of one service
    uint64_t service_waiting_bytes_max  # their bytes
    uint32_t requests_max               # open requests of one PND session
    uint32_t foreign_window             # open requests of one Guide client
    uint64_t answers_bytes_max          # delivered answers kept for a client that asks again, bytes
    int64_t service_wait_ns             # how long a request waits for a first worker; 0: no limit
    int64_t block_ns                    # how long a worker whose pipe was full is left alone
    uint64_t shares_from                # the least limit that is shared among clients (shares.pxd)
    uint8_t unknown_reject              # 1: a request for a service without workers fails at once


cdef inline limits_t limits_default() noexcept nogil:
    cdef limits_t limits
    # The number of tries that the Guide's clients make before they give up.
    limits.attempts_max = 5
    # As many as a large machine has file descriptors for; 80 bytes each in the dispatcher,
    # and what finds a client's ids: 64 to 1,024 bytes, more with more than 128 requests.
    limits.clients_max = 100_000
    limits.workers_max = 100_000
    # 376 bytes each, more when used; peers choose the names, so something must bound them.
    limits.services_max = 10_000
    # One second of the broker's full speed, about 100 MB of the dispatcher's own memory.
    limits.waiting_max = 1_000_000
    # What a machine of 2 GB can give; bodies count in full, wherever they are stored.
    limits.waiting_bytes_max = 1 << 30
    # A single service may use all of it: most brokers serve one.
    limits.service_waiting_max = 1_000_000
    limits.service_waiting_bytes_max = 1 << 30
    # Enough for a pipelined client over a slow link; one in sixteen of what may wait in all.
    limits.requests_max = 65_536
    # Nothing slows a Guide DEALER down: requests beyond this are dropped and counted.
    limits.foreign_window = 1_000
    # A second of small answers: a client asks again within its heartbeats or not at all.
    limits.answers_bytes_max = 64 << 20
    # Longer than a rolling restart of the workers, shorter than a person's patience.
    limits.service_wait_ns = 30_000_000_000
    # A pipe drains in far less when its reader lives; a dead one costs 200 tries a second.
    limits.block_ns = 5_000_000
    # An eighth of it is 8.
    limits.shares_from = 64
    limits.unknown_reject = 0
    return limits
