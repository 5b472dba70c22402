/* Latencies in nanoseconds, counted in logarithmic buckets: 64 to each power of two, so at most 1.6 % wide. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define SUB_BITS 6
#define SUB_BUCKETS (1u << SUB_BITS)
#define BUCKETS (SUB_BUCKETS * (42 - SUB_BITS)) /* up to 2^41 ns: 36 minutes */

typedef struct {
    uint64_t count;
    uint64_t sum;
    uint64_t largest;
    uint64_t buckets[BUCKETS];
} histogram;

static inline uint32_t bucket_of(uint64_t value) {
    if (value < SUB_BUCKETS) return (uint32_t)value;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - SUB_BITS;
    uint64_t index = (uint64_t)(shift + 1) * SUB_BUCKETS + (value >> shift) - SUB_BUCKETS;
    return index < BUCKETS ? (uint32_t)index : BUCKETS - 1;
}

/* The middle of a bucket. */
static inline uint64_t bucket_value(uint32_t index) {
    if (index < SUB_BUCKETS) return index;
    uint32_t shift = index / SUB_BUCKETS - 1;
    uint64_t lowest = (uint64_t)(index % SUB_BUCKETS + SUB_BUCKETS) << shift;
    return lowest + ((1ull << shift) >> 1);
}

static inline void histogram_add(histogram *h, uint64_t value, uint64_t times) {
    h->count += times;
    h->sum += value * times;
    if (value > h->largest) h->largest = value;
    h->buckets[bucket_of(value)] += times;
}

static inline void histogram_merge(histogram *into, const histogram *from) {
    into->count += from->count;
    into->sum += from->sum;
    if (from->largest > into->largest) into->largest = from->largest;
    for (uint32_t i = 0; i < BUCKETS; i++) into->buckets[i] += from->buckets[i];
}

/* share: 0 … 1. 0 where nothing was counted. */
static inline uint64_t histogram_quantile(const histogram *h, double share) {
    uint64_t wanted = (uint64_t)(share * (double)h->count + 0.5), seen = 0;
    if (wanted < 1) wanted = 1;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= wanted) return bucket_value(i) < h->largest ? bucket_value(i) : h->largest;
    }
    return h->largest;
}

#endif
