// A Majordomo 0.1 worker in C++ that keeps the reply address as a C string.
//
// usage: mdp_worker URL SERVICE [SERVER PUBLIC SECRET]. It answers as req_worker.c does, until it is killed; DISCONNECT
// makes it open a new socket and say READY again.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <zmq.h>

#include "strings.h"

namespace {

void *open_ready(void *context, char **arguments)
{
    void *socket = zmq_socket(context, ZMQ_DEALER);
    int linger = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    if (keys_set(socket, arguments + 3) != 0 || zmq_connect(socket, arguments[1]) != 0)
        std::exit(1);
    string_send(socket, "", ZMQ_SNDMORE);
    string_send(socket, "MDPW01", ZMQ_SNDMORE);
    string_send(socket, "\x01", ZMQ_SNDMORE);
    string_send(socket, arguments[2], 0);
    return socket;
}

void send_command(void *socket, const char *command, bool more)
{
    string_send(socket, "", ZMQ_SNDMORE);
    string_send(socket, "MDPW01", ZMQ_SNDMORE);
    string_send(socket, command, more ? ZMQ_SNDMORE : 0);
}

std::string frame(void *socket)
{
    char *text = string_recv(socket);
    if (!text)
        std::exit(1);
    std::string copy(text);
    std::free(text);
    return copy;
}

}  // namespace

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 6)
        return 2;
    void *context = zmq_ctx_new();
    void *worker = open_ready(context, argv);
    std::puts("ready");
    std::fflush(stdout);
    for (;;) {
        zmq_pollitem_t item = {worker, 0, ZMQ_POLLIN, 0};
        if (zmq_poll(&item, 1, 1000) < 0)
            return 1;
        if (!(item.revents & ZMQ_POLLIN)) {
            send_command(worker, "\x04", false);
            continue;
        }
        if (!frame(worker).empty() || frame(worker) != "MDPW01")
            return 1;
        const std::string command = frame(worker);
        if (command == "\x02") {
            const std::string address = frame(worker);
            if (!frame(worker).empty())
                return 1;
            send_command(worker, "\x03", true);
            if (answer(worker, address.c_str()) != 0)
                return 1;
        } else if (command == "\x05") {
            zmq_close(worker);
            worker = open_ready(context, argv);
        } else if (command == "\x04")
            send_command(worker, "\x04", false);
    }
}
