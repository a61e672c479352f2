/* The few declarations of libzmq's stable ABI (4.3) that Pound needs.
 *
 * Pound never links libzmq: it calls the copy that pyzmq has loaded (see libzmq.pyx), so no zmq.h
 * need be installed. The values are part of libzmq's public ABI and don't change within version 4.
 */
#ifndef POUND_LIBZMQ_H
#define POUND_LIBZMQ_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_DEFAULT */
#endif
#include <dlfcn.h>
#include <stddef.h>

typedef struct zmq_msg_t {
#if defined(__GNUC__) || defined(__clang__)
    unsigned char _[64] __attribute__((aligned(sizeof(void *))));
#else
    unsigned char _[64];
#endif
} zmq_msg_t;

typedef struct zmq_pollitem_t {
    void *socket;
    int fd;
    short events;
    short revents;
} zmq_pollitem_t;

#define ZMQ_PAIR 0
#define ZMQ_DEALER 5

#define ZMQ_FD 14
#define ZMQ_EVENTS 15
#define ZMQ_LINGER 17
#define ZMQ_RECONNECT_IVL 18
#define ZMQ_RECONNECT_IVL_MAX 21
#define ZMQ_SNDHWM 23
#define ZMQ_RCVHWM 24
#define ZMQ_IPV6 42
#define ZMQ_CURVE_PUBLICKEY 48
#define ZMQ_CURVE_SECRETKEY 49
#define ZMQ_CURVE_SERVERKEY 50

#define ZMQ_POLLIN 1
#define ZMQ_POLLOUT 2
#define ZMQ_DONTWAIT 1
#define ZMQ_SNDMORE 2
#define ZMQ_SRCFD 2 /* zmq_msg_get: the descriptor that the message came by */

#define ZMQ_EVENT_CONNECT_RETRIED 0x0004
#define ZMQ_EVENT_ACCEPTED 0x0020
#define ZMQ_EVENT_DISCONNECTED 0x0200
#define ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL 0x0800
#define ZMQ_EVENT_HANDSHAKE_SUCCEEDED 0x1000
#define ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL 0x2000
#define ZMQ_EVENT_HANDSHAKE_FAILED_AUTH 0x4000
#define ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH 0x11000002

#ifndef EFSM
#define EFSM (156384712 + 51)
#define ETERM (156384712 + 53)
#endif

#endif
