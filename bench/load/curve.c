#include "curve.h"

#include <dlfcn.h>

enum {
    MAC_SIZE = 16,
    NONCE_SIZE = 24,
    SHORT_SIZE = 8,           /* of a nonce: the counter */
    LONG_SIZE = 16,           /* of a nonce: random */
    COOKIE_SIZE = 96,
    HELLO_PADDING = 72,
    HELLO_ZEROS = 64,
    VOUCH_SIZE = 2 * CURVE_KEY_SIZE + MAC_SIZE,
    WELCOME_HEAD = 8,         /* the length of the name, and the name */
    WELCOME_SIZE = WELCOME_HEAD + LONG_SIZE + CURVE_KEY_SIZE + COOKIE_SIZE + MAC_SIZE,
    READY_HEAD = 6,
    MESSAGE_HEAD = 8,
    MESSAGE_OVERHEAD = MESSAGE_HEAD + SHORT_SIZE + MAC_SIZE + 1, /* and a byte of flags */
};

struct curve {
    const struct curve_keys *keys;
    uint8_t public[CURVE_KEY_SIZE];  /* the connection's own pair */
    uint8_t secret[CURVE_KEY_SIZE];
    uint8_t shared[CURVE_KEY_SIZE];  /* with the server's connection, from WELCOME on */
    uint64_t counter;                /* of our nonces */
    struct bytes scratch;            /* the plain text of one frame */
};

/* libsodium's, by its documentation. */
static int (*box)(uint8_t *, const uint8_t *, unsigned long long, const uint8_t *, const uint8_t *,
                  const uint8_t *);
static int (*box_open)(uint8_t *, const uint8_t *, unsigned long long, const uint8_t *,
                       const uint8_t *, const uint8_t *);
static int (*shared_key)(uint8_t *, const uint8_t *, const uint8_t *);
static int (*seal)(uint8_t *, const uint8_t *, unsigned long long, const uint8_t *,
                   const uint8_t *);
static int (*unseal)(uint8_t *, const uint8_t *, unsigned long long, const uint8_t *,
                     const uint8_t *);
static int (*new_pair)(uint8_t *, uint8_t *);
static int (*public_of)(uint8_t *, const uint8_t *);
static void (*random_bytes)(void *, size_t);

static _Noreturn void fail(const char *what, const char *of) {
    fprintf(stderr, "load: %s: %s\n", what, of);
    exit(2);
}

/* --- keys */

static void find(void *library, const char *name, void *function) {
    void *found = dlsym(library, name);
    if (!found)
        fail("libsodium has no function", name);
    memcpy(function, &found, sizeof found);
}

static void load_sodium(const char *path) {
    int (*init)(void);
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        fail("no libsodium", dlerror());
    find(library, "sodium_init", &init);
    find(library, "crypto_box_easy", &box);
    find(library, "crypto_box_open_easy", &box_open);
    find(library, "crypto_box_beforenm", &shared_key);
    find(library, "crypto_box_easy_afternm", &seal);
    find(library, "crypto_box_open_easy_afternm", &unseal);
    find(library, "crypto_box_keypair", &new_pair);
    find(library, "crypto_scalarmult_base", &public_of);
    find(library, "randombytes_buf", &random_bytes);
    if (init() < 0)
        fail("libsodium", "it can't be used here");
}

static void read_key(FILE *file, uint8_t *key, const char *path) {
    for (int i = 0; i < CURVE_KEY_SIZE; i++)
        if (fscanf(file, "%2hhx", &key[i]) != 1)
            fail("not two keys in hexadecimal digits", path);
}

void curve_load(struct curve_keys *keys, const char *keys_path, const char *sodium_path) {
    FILE *file = fopen(keys_path, "r");
    if (!file)
        fail("cannot read", keys_path);
    read_key(file, keys->server, keys_path);
    read_key(file, keys->secret, keys_path);
    fclose(file);
    load_sodium(sodium_path);
    public_of(keys->public, keys->secret);
}

/* --- the handshake */

struct curve *curve_new(const struct curve_keys *keys) {
    struct curve *curve = must(calloc(1, sizeof *curve));
    curve->keys = keys;
    new_pair(curve->public, curve->secret);
    return curve;
}

void curve_free(struct curve *curve) {
    if (curve)
        bytes_free(&curve->scratch);
    free(curve);
}

void curve_put_greeting(struct bytes *out) {
    static const uint8_t greeting[ZMTP_GREETING_SIZE] = {
        0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 3, 0, 'C', 'U', 'R', 'V', 'E'};
    bytes_put(out, greeting, sizeof greeting);
}

bool curve_greeting_sound(const uint8_t *g) {
    return g[0] == 0xFF && g[9] == 0x7F && g[10] >= 3 && memcmp(g + 12, "CURVE\0", 6) == 0;
}

/* short_nonce fills a nonce that counts, and appends the part of it that travels. */
static void short_nonce(struct curve *curve, const char *name, uint8_t *nonce, struct bytes *out) {
    uint64_t wire = __builtin_bswap64(++curve->counter);
    memcpy(nonce, name, LONG_SIZE);
    memcpy(nonce + LONG_SIZE, &wire, sizeof wire);
    bytes_put(out, &wire, sizeof wire);
}

static void put_box(struct curve *curve, struct bytes *out, const void *text, size_t size,
                    const uint8_t *nonce, const uint8_t *to) {
    uint8_t *at = bytes_reserve(out, size + MAC_SIZE);
    if (box(at, text, size, nonce, to, curve->secret))
        fail("libsodium", "a box can't be made");
    out->size += size + MAC_SIZE;
}

static void put_command(struct bytes *out, const struct bytes *command) {
    zmtp_put_frame(out, ZMTP_COMMAND, command->data, command->size);
}

void curve_put_hello(struct curve *curve, struct bytes *out) {
    static const uint8_t zeros[HELLO_PADDING] = {0};
    uint8_t nonce[NONCE_SIZE];
    struct bytes hello = {0};
    bytes_put(&hello, "\5HELLO\1\0", 8);
    bytes_put(&hello, zeros, HELLO_PADDING);
    bytes_put(&hello, curve->public, CURVE_KEY_SIZE);
    short_nonce(curve, "CurveZMQHELLO---", nonce, &hello);
    put_box(curve, &hello, zeros, HELLO_ZEROS, nonce, curve->keys->server);
    put_command(out, &hello);
    bytes_free(&hello);
}

/* put_vouch appends our lasting key, and the proof that the connection's key is ours. */
static void put_vouch(struct curve *curve, const uint8_t *server, struct bytes *out) {
    uint8_t nonce[NONCE_SIZE] = "VOUCH---", text[2 * CURVE_KEY_SIZE];
    const struct curve_keys *keys = curve->keys;
    random_bytes(nonce + SHORT_SIZE, LONG_SIZE);
    memcpy(text, curve->public, CURVE_KEY_SIZE);
    memcpy(text + CURVE_KEY_SIZE, keys->server, CURVE_KEY_SIZE);
    bytes_put(out, keys->public, CURVE_KEY_SIZE);
    bytes_put(out, nonce + SHORT_SIZE, LONG_SIZE);
    uint8_t *at = bytes_reserve(out, VOUCH_SIZE);
    if (box(at, text, sizeof text, nonce, server, keys->secret))
        fail("libsodium", "a box can't be made");
    out->size += VOUCH_SIZE;
}

static void put_initiate(struct curve *curve, const uint8_t *server, const uint8_t *cookie,
                         struct bytes *out) {
    uint8_t nonce[NONCE_SIZE];
    struct bytes initiate = {0}, text = {0};
    put_vouch(curve, server, &text);
    zmtp_put_metadata(&text);
    bytes_put(&initiate, "\10INITIATE", 9);
    bytes_put(&initiate, cookie, COOKIE_SIZE);
    short_nonce(curve, "CurveZMQINITIATE", nonce, &initiate);
    put_box(curve, &initiate, text.data, text.size, nonce, server);
    put_command(out, &initiate);
    bytes_free(&initiate);
    bytes_free(&text);
}

static enum curve_step take_welcome(struct curve *curve, const uint8_t *data, struct bytes *out) {
    uint8_t nonce[NONCE_SIZE] = "WELCOME-", text[CURVE_KEY_SIZE + COOKIE_SIZE];
    const uint8_t *sealed = data + WELCOME_HEAD + LONG_SIZE;
    memcpy(nonce + SHORT_SIZE, data + WELCOME_HEAD, LONG_SIZE);
    if (box_open(text, sealed, sizeof text + MAC_SIZE, nonce, curve->keys->server, curve->secret))
        return CURVE_FAILED;
    if (shared_key(curve->shared, text, curve->secret))
        return CURVE_FAILED;
    put_initiate(curve, text, text + CURVE_KEY_SIZE, out);
    return CURVE_GOES_ON;
}

enum curve_step curve_command(struct curve *curve, const struct frame *command, struct bytes *out) {
    if (command->size == WELCOME_SIZE && !memcmp(command->data, "\7WELCOME", WELCOME_HEAD))
        return take_welcome(curve, command->data, out);
    if (command->size > READY_HEAD && !memcmp(command->data, "\5READY", READY_HEAD))
        return CURVE_OPEN;
    return CURVE_FAILED;
}

/* --- messages */

/* put_sealed appends one frame, encrypted. A command goes as a frame of flags, too. */
static void put_sealed(struct curve *curve, uint8_t flags, const struct frame *frame,
                       struct bytes *out) {
    uint8_t nonce[NONCE_SIZE];
    struct bytes *text = &curve->scratch;
    text->size = 0;
    put_u8(text, (flags & ZMTP_MORE ? 1 : 0) | (flags & ZMTP_COMMAND ? 2 : 0));
    bytes_put(text, frame->data, frame->size);
    zmtp_put_header(out, ZMTP_LAST, MESSAGE_OVERHEAD + frame->size);
    bytes_put(out, "\7MESSAGE", MESSAGE_HEAD);
    short_nonce(curve, "CurveZMQMESSAGEC", nonce, out);
    uint8_t *at = bytes_reserve(out, text->size + MAC_SIZE);
    if (seal(at, text->data, text->size, nonce, curve->shared))
        fail("libsodium", "a message can't be sealed");
    out->size += text->size + MAC_SIZE;
}

void curve_wrap(struct curve *curve, struct bytes *plain, struct bytes *out) {
    size_t at = 0;
    while (at < plain->size) {
        struct frame frame;
        uint8_t flags;
        size_t taken = zmtp_frame(plain->data + at, plain->size - at, &flags, &frame);
        if (!taken)
            fail("a dialect left half a frame", "curve_wrap");
        put_sealed(curve, flags, &frame, out);
        at += taken;
    }
    plain->size = 0;
}

/* put_opened appends one frame, decrypted: false, if it is none of the server's. */
static bool put_opened(struct curve *curve, const struct frame *frame, struct bytes *plain) {
    uint8_t nonce[NONCE_SIZE];
    struct bytes *text = &curve->scratch;
    if (frame->size < MESSAGE_OVERHEAD || memcmp(frame->data, "\7MESSAGE", MESSAGE_HEAD))
        return false;
    const uint8_t *sealed = frame->data + MESSAGE_HEAD + SHORT_SIZE;
    size_t size = frame->size - MESSAGE_HEAD - SHORT_SIZE;
    memcpy(nonce, "CurveZMQMESSAGES", LONG_SIZE);
    memcpy(nonce + LONG_SIZE, frame->data + MESSAGE_HEAD, SHORT_SIZE);
    text->size = 0;
    bytes_reserve(text, size);
    if (unseal(text->data, sealed, size, nonce, curve->shared))
        return false;
    uint8_t flags = (text->data[0] & 1 ? ZMTP_MORE : 0) | (text->data[0] & 2 ? ZMTP_COMMAND : 0);
    zmtp_put_frame(plain, flags, text->data + 1, size - MAC_SIZE - 1);
    return true;
}

ptrdiff_t curve_unwrap(struct curve *curve, const uint8_t *data, size_t size, struct bytes *plain) {
    size_t at = 0;
    for (;;) {
        struct frame frame;
        uint8_t flags;
        size_t taken = zmtp_frame(data + at, size - at, &flags, &frame);
        if (!taken)
            return (ptrdiff_t)at;
        if (!put_opened(curve, &frame, plain))
            return -1;
        at += taken;
    }
}
