/* A plain worker in C that treats the client address as a string, as the Guide's C workers do.

   usage: req_worker URL SERVICE [SERVER PUBLIC SECRET]. It says READY, prints "ready", and answers each task with the length of
   its body's first part and that part reversed, until it is killed. The address goes through
   s_recv/s_send alike: read into a fixed buffer, cut at its size, copied with strdup, measured with
   strlen. An address with a NUL byte, or one of 256 bytes or more, does not survive that. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "strings.h"

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 6)
        return 2;
    void *context = zmq_ctx_new();
    void *worker = zmq_socket(context, ZMQ_REQ);
    if (keys_set(worker, argv + 3) != 0 || zmq_connect(worker, argv[1]) != 0)
        return 1;
    string_send(worker, "READY", 0);
    puts("ready");
    fflush(stdout);
    for (;;) {
        char *address = string_recv(worker);
        char *empty = string_recv(worker);
        if (!address || !empty || *empty)
            return 1;
        if (answer(worker, address) != 0)
            return 1;
        free(empty);
        free(address);
    }
}
