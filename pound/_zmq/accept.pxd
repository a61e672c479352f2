# accept() for libzmq, by which it survives that no descriptor is left.
#
# libzmq 4.3.5 expects EMFILE from accept at its TCP listeners, but takes it for a bug of its own at
# those of ipc, and aborts the process (src/ipc_listener.cpp). Both expect ENFILE, which says the
# same of the whole system. So the references of libzmq's library to accept and accept4, which the
# loader keeps in a table, are made to lead to functions that say ENFILE instead.
#
# So it is done for brokers that listen on ipc only, and nothing else in the process is changed.
# Where there is no such table (no Linux of 64 bits, a libc that keeps it otherwise, libzmq linked
# into the program itself), all stays as it is.

# accept_survives changes the references, and returns how many; it may be called again.
cdef int accept_survives() noexcept nogil
