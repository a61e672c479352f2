# Rights that end: the keys changed while the broker runs, or one has expired.
#
# A peer whose key has ended loses its session at once: its tasks are lost for it, so that no late
# answer counts, and its requests are cancelled. It is sent ERROR 16 and BYE, an MDP worker
# DISCONNECT, and its connection is closed a moment later (denials.pxd). One that another route
# reaches, by a key that stays, goes on by that: an identity has two keys while it rotates. A peer
# that lost a role loses what it was by that role. A worker that offers a service that its key may
# not serve any more loses all its tasks likewise, and may say READY for the others.
# Requests that were accepted go on when only their client's services changed.
#
# Cost: O(routes + peers + services + offers + tasks) a walk.

from .state cimport broker_t

# revocation_walk judges all routes and peers by the table that is in use now.
cdef void revocation_walk(broker_t *b) noexcept nogil
