# IP addresses of connections, as 16 bytes and a family: 4, 6, or 0 where there is none (ipc).

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/socket.h>

    enum { IP_SIZE = 16, IP_TEXT_ROOM = INET6_ADDRSTRLEN };

    /* ip_of_peer notes the address of a connection's peer, and returns its family. */
    static inline uint8_t ip_of_peer(int fd, uint8_t *address) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof(peer);

        memset(address, 0, IP_SIZE);
        if (getpeername(fd, (struct sockaddr *)&peer, &size)) {
            return 0;
        }
        if (peer.ss_family == AF_INET) {
            memcpy(address, &((struct sockaddr_in *)&peer)->sin_addr, 4);
            return 4;
        }
        if (peer.ss_family == AF_INET6) {
            memcpy(address, &((struct sockaddr_in6 *)&peer)->sin6_addr, IP_SIZE);
            return 6;
        }
        return 0;
    }

    /* ip_text writes an address as text, empty if there is none; IP_TEXT_ROOM bytes are enough. */
    static inline void ip_text(uint8_t family, const uint8_t *address, char *text) {
        text[0] = 0;
        if (family) {
            inet_ntop(family == 4 ? AF_INET : AF_INET6, address, text, IP_TEXT_ROOM);
        }
    }

    /* ip_read reads it from text, which may end in a zone (%eth0), and returns its family. */
    static inline uint8_t ip_read(const uint8_t *text, size_t size, uint8_t *address) {
        char copy[IP_TEXT_ROOM];
        const uint8_t *zone = size ? memchr(text, '%', size) : NULL;

        memset(address, 0, IP_SIZE);
        size = zone ? (size_t)(zone - text) : size;
        if (size == 0 || size >= sizeof(copy)) {
            return 0;
        }
        memcpy(copy, text, size);
        copy[size] = 0;
        if (inet_pton(AF_INET, copy, address) == 1) {
            return 4;
        }
        return inet_pton(AF_INET6, copy, address) == 1 ? 6 : 0;
    }
    """
    enum:
        IP_SIZE
        IP_TEXT_ROOM
    uint8_t ip_of_peer(int fd, uint8_t *address) nogil
    void ip_text(uint8_t family, const uint8_t *address, char *text) nogil
    uint8_t ip_read(const uint8_t *text, size_t size, uint8_t *address) nogil
