/* Latencies in logarithmic buckets: 32 to each power of two, so a value is known within 3 %.
 *
 * Adding is O(1) and touches one counter; a quantile is O(buckets).
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 5,
    HISTOGRAM_SUB = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_BUCKETS = 60 * HISTOGRAM_SUB,
};

struct histogram {
    uint64_t total;
    uint64_t highest_ns;
    uint64_t counts[HISTOGRAM_BUCKETS];
};

static inline uint32_t histogram_bucket(uint64_t ns) {
    if (ns < HISTOGRAM_SUB)
        return (uint32_t)ns;
    uint32_t shift = 63 - HISTOGRAM_SUB_BITS - (uint32_t)__builtin_clzll(ns);
    return (shift + 1) * HISTOGRAM_SUB + (uint32_t)((ns >> shift) - HISTOGRAM_SUB);
}

/* histogram_upper returns the first value above the bucket. */
static inline uint64_t histogram_upper(uint32_t bucket) {
    if (bucket < HISTOGRAM_SUB)
        return bucket + 1;
    uint32_t shift = bucket / HISTOGRAM_SUB - 1;
    return (uint64_t)(HISTOGRAM_SUB + bucket % HISTOGRAM_SUB + 1) << shift;
}

static inline void histogram_add(struct histogram *h, uint64_t ns) {
    h->total++;
    h->counts[histogram_bucket(ns)]++;
    if (ns > h->highest_ns)
        h->highest_ns = ns;
}

/* histogram_quantile returns a value in ns that a share `q` of all does not exceed. */
static inline uint64_t histogram_quantile(const struct histogram *h, double q) {
    uint64_t wanted = (uint64_t)(q * (double)h->total + 0.5), seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen && seen >= wanted) {
            uint64_t upper = histogram_upper(i);
            return upper < h->highest_ns ? upper : h->highest_ns;
        }
    }
    return h->highest_ns;
}

#endif
