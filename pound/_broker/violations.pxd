# Malformed messages, counted against the routes that they came by.
#
# A route with VIOLATIONS_MAX of them is ignored, so a flood of bad messages costs next to nothing.
# Each second forgives one, so a program that was fixed is listened to again.

from libc.stdint cimport uint16_t, uint8_t

from .state cimport broker_t, route_t


# violation counts a malformed message against its route.
cdef void violation(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil

# ignore_route counts and logs once that a route is ignored from now on.
cdef void ignore_route(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil

# violations_left returns a route's violations less those that have been forgiven.
cdef uint16_t violations_left(broker_t *b, route_t *route) noexcept nogil
