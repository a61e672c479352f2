# Handles for a client's open requests and cancels, for tests only.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc

from pound._base.index cimport index_count
from pound._base.pool cimport NONE
from pound._engine.cancels cimport (
    CANCELS_MAX, cancels_add, cancels_again, cancels_free, cancels_heard, cancels_next, cancels_t)
from pound._engine.requests cimport (
    BUSY, PLACES, RETURNED, request_arm, request_end, request_expires, request_move, request_new,
    request_paces, request_send, requests_again, requests_by_id, requests_by_number, requests_done,
    requests_due, requests_free, requests_init, requests_t, shared_name_t)
from pound._engine.link cimport FAR
from pound._engine.mailbox cimport MAIL_REPLY, mail_free, mail_new

REMEMBERED = CANCELS_MAX


def address(const unsigned char[::1] memory not None):
    """Where the memory of a view begins."""
    return <size_t> &memory[0]


cdef class Cancels:
    cdef cancels_t cancels

    def __dealloc__(self):
        cancels_free(&self.cancels)

    def add(self, uint64_t id):
        cancels_add(&self.cancels, id)

    def next(self):
        return cancels_next(&self.cancels)

    def again(self):
        cancels_again(&self.cancels)

    def heard(self, uint64_t id):
        cancels_heard(&self.cancels, id)

    def room(self):
        return self.cancels.room


cdef class Requests:
    """Requests by number; deadline None: there is none."""

    cdef requests_t requests

    def __cinit__(self):
        requests_init(&self.requests)

    def __dealloc__(self):
        cdef int place
        for place in range(PLACES):
            while self.requests.places[place].head != NONE:
                mail_free(request_end(&self.requests, self.requests.places[place].head))
        requests_free(&self.requests)

    cdef uint32_t find(self, uint64_t number) except? NONE:
        cdef uint32_t r = requests_by_number(&self.requests, number)
        if r == NONE:
            raise KeyError(number)
        return r

    def new(self, uint64_t number, deadline=None):
        cdef uint32_t r = request_new(&self.requests, number)
        cdef shared_name_t *service = <shared_name_t *> calloc(1, sizeof(shared_name_t))
        service.refs = 1
        self.requests.all[r].service = service
        request_paces(&self.requests, r, service.hash)
        self.requests.all[r].end = mail_new(MAIL_REPLY, NULL, number)
        self.requests.all[r].deadline = FAR if deadline is None else deadline
        assert request_arm(&self.requests, r) == 0

    def send(self, uint64_t number):
        cdef uint32_t r = self.find(number)
        assert request_send(&self.requests, r) == 0
        return self.requests.all[r].id

    def put_off(self, uint64_t number, int64_t until):
        cdef uint32_t r = self.find(number)
        request_move(&self.requests, r, BUSY)
        self.requests.all[r].busy_until = until
        assert request_arm(&self.requests, r) == 0

    def bring_back(self, uint64_t number):
        cdef uint32_t r = self.find(number)
        request_move(&self.requests, r, RETURNED)
        assert request_arm(&self.requests, r) == 0

    def end(self, uint64_t number):
        mail_free(request_end(&self.requests, self.find(number)))

    def due(self, int64_t now):
        """The number of the request whose timer was due first, or None."""
        cdef uint32_t r = requests_due(&self.requests, now)
        return None if r == NONE else self.requests.all[r].number

    def expires(self, uint64_t number):
        cdef int64_t at = request_expires(&self.requests.all[self.find(number)])
        return None if at == FAR else at

    def by_id(self, uint64_t id):
        cdef uint32_t r = requests_by_id(&self.requests, id)
        return None if r == NONE else self.requests.all[r].number

    def done(self):
        return requests_done(&self.requests)

    def again(self):
        requests_again(&self.requests)

    def send_again(self):
        """The number of the next one to be sent again, or None."""
        cdef uint32_t r = self.requests.again
        while r != NONE:
            self.requests.again = self.requests.all[r].link.next
            if self.requests.all[r].again:
                self.requests.all[r].again = 0
                return self.requests.all[r].number
            r = self.requests.again
        return None

    def place(self, int place):
        """The numbers of the requests in a place, in order."""
        cdef uint32_t r = self.requests.places[place].head
        numbers = []
        while r != NONE:
            numbers.append(self.requests.all[r].number)
            r = self.requests.all[r].link.next
        return numbers

    def counts(self):
        return (self.requests.pool.used, self.requests.open, self.requests.timers.count,
                index_count(&self.requests.numbers), index_count(&self.requests.ids))
