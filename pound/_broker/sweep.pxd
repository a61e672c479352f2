# Routes without a connection that can be watched.
#
# Messages of inproc peers and of those that use ZMTP 1.0 or 2.0 (random bytes may) name no
# descriptor, so no event reports that the peer has gone. Some of these routes are checked each
# second:
#   PND        a heartbeat is sent: a send to a peer that has gone is refused
#   others     can be sent nothing that they would not take for an answer. One that has nothing open
#              and nothing unread and was silent for client_grace is forgotten; its next message
#              makes it anew
#   workers    end by silence if their dialect has heartbeats. A plain one is silent by nature: it
#              ends when a send is refused
# After clients or workers were refused since there are too many, all routes are checked, and silent
# clients with waiting requests and idle plain workers are forgotten, too.
#
# Cost: O(routes) in ROUND_S seconds, or in client_grace if that is less.

from .state cimport broker_t

# sweep looks at some of the routes; once a second.
cdef void sweep(broker_t *b) noexcept nogil
