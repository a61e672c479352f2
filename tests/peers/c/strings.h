/* Strings over ZeroMQ, the way that the Guide's C helpers do it, and the answer that both C workers
   give. Each function gives NULL or -1 when the socket fails; the caller frees what it is given. */

#ifndef TESTS_PEERS_STRINGS_H
#define TESTS_PEERS_STRINGS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static char *string_recv(void *socket)
{
    char buffer[256];
    int size = zmq_recv(socket, buffer, sizeof buffer - 1, 0);
    if (size < 0)
        return NULL;
    buffer[size < (int) sizeof buffer - 1 ? size : (int) sizeof buffer - 1] = '\0';
    return strdup(buffer);
}

static int string_send(void *socket, const char *string, int flags)
{
    return zmq_send(socket, string, strlen(string), flags) < 0 ? -1 : 0;
}

/* Have a client socket prove a key: `keys` are the server's public key, and the pair; NULL: none. */
static int keys_set(void *socket, char **keys)
{
    if (!*keys)
        return 0;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, keys[0], strlen(keys[0])) != 0
        || zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, keys[1], strlen(keys[1])) != 0
        || zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys[2], strlen(keys[2])) != 0)
        return -1;
    return 0;
}

/* Read the body that is left of a task; send [address, empty, size of part 0 in decimal, part 0
   reversed]. */
static inline int answer(void *socket, const char *address)
{
    zmq_msg_t part;
    zmq_msg_init(&part);
    if (zmq_msg_recv(&part, socket, 0) < 0)
        return -1;
    size_t size = zmq_msg_size(&part);
    unsigned char *bytes = (unsigned char *) zmq_msg_data(&part);
    for (size_t i = 0; i < size / 2; i++) {
        unsigned char byte = bytes[i];
        bytes[i] = bytes[size - 1 - i];
        bytes[size - 1 - i] = byte;
    }
    int more = zmq_msg_more(&part);
    while (more) {
        zmq_msg_t rest;
        zmq_msg_init(&rest);
        if (zmq_msg_recv(&rest, socket, 0) < 0)
            return -1;
        more = zmq_msg_more(&rest);
        zmq_msg_close(&rest);
    }
    char number[24];
    snprintf(number, sizeof number, "%zu", size);
    string_send(socket, address, ZMQ_SNDMORE);
    string_send(socket, "", ZMQ_SNDMORE);
    string_send(socket, number, ZMQ_SNDMORE);
    return zmq_msg_send(&part, socket, 0) < 0 ? -1 : 0;
}

#endif
