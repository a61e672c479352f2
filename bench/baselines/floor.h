/* What travels to and from the floor. A hello: u32 capacity, 0 from a client. Then messages both
 * ways: u32 size of what follows, u64 id, body. To workers the id is the floor's, from clients
 * theirs; an answer bears the id that its task came with. */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

enum {
    FLOOR_HELLO_SIZE = 4,
    FLOOR_SIZE_SIZE = 4,
    FLOOR_ID_SIZE = 8,
    FLOOR_HEAD_SIZE = FLOOR_SIZE_SIZE + FLOOR_ID_SIZE,
};

#endif
