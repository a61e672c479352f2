# Malformed messages, counted against the routes that they came by.
#
# A route that has STRIKES_MAX of them is not listened to: a flood of bad messages costs next to
# nothing. Each second forgives one, so a program that was mended is heard again.

from libc.stdint cimport uint16_t, uint8_t

from .state cimport broker_t, route_t


# strike counts a malformed message against its route.
cdef void strike(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil

# strike_off notes that a route is not listened to from now on: counted and logged once.
cdef void strike_off(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil

# strikes_left returns a route's strikes less those that have been forgiven.
cdef uint16_t strikes_left(broker_t *b, route_t *route) noexcept nogil
