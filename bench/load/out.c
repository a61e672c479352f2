#include "out.h"

#include <errno.h>

enum { PIECES_MAX = 64 };

void out_mark(struct out *out) {
    if (out->marks_n == out->marks_room) {
        out->marks_room = out->marks_room ? 2 * out->marks_room : 8;
        out->marks = must(realloc(out->marks, out->marks_room * sizeof *out->marks));
    }
    out->marks[out->marks_n++] = out->bytes.size;
}

/* next_piece fills `piece` with the run at the front: 1, or 0 if nothing is left. */
static int next_piece(struct out *out, const struct iovec *tail, struct iovec *piece) {
    bool marked = out->marks_done < out->marks_n;
    size_t end = marked ? out->marks[out->marks_done] : out->bytes.size;
    if (out->sent < end) {
        *piece = (struct iovec){out->bytes.data + out->sent, end - out->sent};
        out->sent = end;
        return 1;
    }
    if (!marked)
        return 0;
    *piece = (struct iovec){(uint8_t *)tail->iov_base + out->tail_sent,
                            tail->iov_len - out->tail_sent};
    out->tail_sent = 0;
    out->marks_done++;
    return 1;
}

/* advance moves the front over `size` bytes that the kernel took. */
static void advance(struct out *out, const struct iovec *tail, size_t size) {
    while (size) {
        bool marked = out->marks_done < out->marks_n;
        size_t end = marked ? out->marks[out->marks_done] : out->bytes.size;
        bool in_tail = out->sent == end;
        size_t left = in_tail ? tail->iov_len - out->tail_sent : end - out->sent;
        size_t step = size < left ? size : left;
        *(in_tail ? &out->tail_sent : &out->sent) += step;
        if (in_tail && out->tail_sent == tail->iov_len) {
            out->tail_sent = 0;
            out->marks_done++;
        }
        size -= step;
    }
}

static void clear(struct out *out) {
    out->bytes.size = out->sent = out->tail_sent = 0;
    out->marks_n = out->marks_done = 0;
}

enum out_state out_write(struct out *out, int fd, const struct iovec *tail) {
    for (;;) {
        struct iovec pieces[PIECES_MAX];
        struct out front = *out;
        size_t total = 0;
        int n = 0;
        while (n < PIECES_MAX && next_piece(&front, tail, &pieces[n]))
            total += pieces[n++].iov_len;
        if (!n) {
            clear(out);
            return OUT_DONE;
        }
        ssize_t taken = writev(fd, pieces, n);
        if (taken < 0)
            return errno == EAGAIN ? OUT_BLOCKED : OUT_FAILED;
        if (n < PIECES_MAX && (size_t)taken == total) {
            clear(out);
            return OUT_DONE;
        }
        advance(out, tail, (size_t)taken);
    }
}

void out_free(struct out *out) {
    bytes_free(&out->bytes);
    free(out->marks);
    memset(out, 0, sizeof *out);
}
