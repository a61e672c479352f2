/* A Paranoid Pirate worker in C that treats the client address as a string.

   usage: ppp_worker URL SERVICE [SERVER PUBLIC SECRET]. READY is one byte 0x01, a heartbeat one byte 0x02, once a second both
   ways. It answers as req_worker.c does, until it is killed. */

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
    void *worker = zmq_socket(context, ZMQ_DEALER);
    if (keys_set(worker, argv + 3) != 0 || zmq_connect(worker, argv[1]) != 0)
        return 1;
    string_send(worker, "\x01", 0);
    puts("ready");
    fflush(stdout);
    for (;;) {
        zmq_pollitem_t item = {worker, 0, ZMQ_POLLIN, 0};
        if (zmq_poll(&item, 1, 1000) < 0)
            return 1;
        if (!(item.revents & ZMQ_POLLIN)) {
            string_send(worker, "\x02", 0);
            continue;
        }
        char *address = string_recv(worker);
        if (!address)
            return 1;
        if (strcmp(address, "\x02") != 0) {
            char *empty = string_recv(worker);
            if (!empty || *empty || answer(worker, address) != 0)
                return 1;
            free(empty);
        } else
            string_send(worker, "\x02", 0);
        free(address);
    }
}
