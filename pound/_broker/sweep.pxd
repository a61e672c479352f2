# Routes without a connection that can be watched: every peer has an end, theirs too.
#
# Of inproc peers and of those that speak ZMTP 1.0 or 2.0 (random bytes may) messages name no
# descriptor, so no event reports that they are gone. Some are looked at each second:
#   PND        is sent a heartbeat: a send to one that is gone is refused
#   others     can't be sent anything that they would not take for an answer. One that has nothing
#              open and nothing unread and was silent for client_grace is forgotten; should it
#              speak again, its message makes it anew
#   workers    whose dialect has heartbeats end by silence. A plain one is silent by its nature: it
#              ends when a send is refused
# When clients or workers were refused since there are too many, all of them are looked at, and
# silent ones with waiting requests and idle plain workers make room, too.
#
# Cost: O(routes) in ROUND_S seconds, or in client_grace if that is less.

from .state cimport broker_t

# sweep looks at some of the routes; once a second.
cdef void sweep(broker_t *b) noexcept nogil
