/* The client's half of ZMTP's CURVE mechanism (RFC 26), as libzmq speaks it. Its cryptography is
 * libsodium's, the one that the broker's libzmq uses, loaded when a run begins.
 *
 * A connection's plain side is ZMTP as it is with the NULL mechanism, once the handshake is over.
 * curve_wrap encrypts whole frames, curve_unwrap gives them back: so dialects know nothing of it.
 */
#ifndef BENCH_CURVE_H
#define BENCH_CURVE_H

#include "zmtp.h"

enum { CURVE_KEY_SIZE = 32 };

/* The keys of a run: of the broker, and of all peers, which have one pair. */
struct curve_keys {
    uint8_t server[CURVE_KEY_SIZE];
    uint8_t public[CURVE_KEY_SIZE];
    uint8_t secret[CURVE_KEY_SIZE];
};

struct curve; /* of one connection */

/* curve_load reads two lines of hexadecimal digits, the broker's public and the peers' secret key,
 * and finds libsodium in a file, or ends the program. */
void curve_load(struct curve_keys *keys, const char *keys_path, const char *sodium_path);

struct curve *curve_new(const struct curve_keys *keys);
void curve_free(struct curve *curve);

void curve_put_greeting(struct bytes *out);
bool curve_greeting_sound(const uint8_t *greeting);

enum curve_step { CURVE_FAILED = -1, CURVE_GOES_ON, CURVE_OPEN };

/* curve_put_hello begins the handshake; curve_command takes a command of it, appends what is to
 * be answered, and returns where that leads. */
void curve_put_hello(struct curve *curve, struct bytes *out);
enum curve_step curve_command(struct curve *curve, const struct frame *command, struct bytes *out);

/* curve_wrap appends the frames of `plain`, encrypted, to `out`; `plain` is then empty. */
void curve_wrap(struct curve *curve, struct bytes *plain, struct bytes *out);

/* curve_unwrap takes whole frames and appends them, decrypted, to `plain`. It returns how many
 * bytes it took, or -1 for what is broken. */
ptrdiff_t curve_unwrap(struct curve *curve, const uint8_t *data, size_t size, struct bytes *plain);

#endif
