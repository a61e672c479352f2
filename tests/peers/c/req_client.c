/* The Guide's client in C: REQ, one request after the other.

   usage: req_client URL COUNT [SERVER PUBLIC SECRET]. It prints "ready", then a line for each
   answer: its parts, with a space between them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "strings.h"

static int print_answer(void *socket)
{
    int more = 1;
    size_t size = sizeof more;
    while (more) {
        char *part = string_recv(socket);
        if (!part || zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) != 0)
            return -1;
        printf(more ? "%s " : "%s\n", part);
        free(part);
    }
    return fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 6)
        return 2;
    void *context = zmq_ctx_new();
    void *client = zmq_socket(context, ZMQ_REQ);
    if (keys_set(client, argv + 3) != 0 || zmq_connect(client, argv[1]) != 0)
        return 1;
    puts("ready");
    fflush(stdout);
    for (int i = 0; i < atoi(argv[2]); i++) {
        char body[24];
        snprintf(body, sizeof body, "request %d", i);
        if (string_send(client, body, 0) != 0 || print_answer(client) != 0)
            return 1;
    }
    zmq_close(client);
    return zmq_ctx_term(context);
}
