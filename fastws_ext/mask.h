/* XOR of a payload with its 4-byte masking key (RFC 6455 5.3), by words; the compiler widens the loop to vectors. */
#ifndef FASTWS_MASK_H
#define FASTWS_MASK_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
    uint64_t word, chunk, seen = 0;
    size_t i = 0;
    memcpy(&half, key, 4);
    word = ((uint64_t)half << 32) | half;
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
