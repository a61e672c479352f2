/* The turn of the load generator and the life of its connections. */
#ifndef BENCH_LOOP_H
#define BENCH_LOOP_H

#include "load.h"

uint64_t clock_ns(void);

/* run_connect starts the connection of a peer; it goes on in the turns that follow. */
void run_connect(struct run *run, struct peer *peer);

/* run_turn waits for something to happen (10 ms at most) and handles all of it. */
void run_turn(struct run *run);

/* run_flush writes to every peer that has something to say. */
void run_flush(struct run *run);

/* peer_fill lets a client send until its window is full. */
void peer_fill(struct peer *client);

/* peer_close ends a connection; peer_free also gives back what outlives one. */
void peer_close(struct peer *peer);
void peer_free(struct peer *peer);

#endif
