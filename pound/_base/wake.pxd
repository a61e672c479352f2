# How threads wait, and wake one another (wake.h).

from libc.stdint cimport int64_t

cdef extern from "pound/_base/wake.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    int wake_open(int *wake_in, int *wake_out)
    void wake_close(int wake_in, int wake_out)
    void wake_ring(int wake_in)
    void wake_drain(int wake_out)
    void wait_for(pollfd *fds, int count, int64_t ns)
    void signals_leave()
