/* SipHash-2-4 (Aumasson and Bernstein): a hash that nobody can make collide who does not know the key. */
#ifndef FASTWS_SIPHASH_H
#define FASTWS_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FASTWS_ROTATE(x, bits) (((x) << (bits)) | ((x) >> (64 - (bits))))

static inline void fastws_sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = FASTWS_ROTATE(v[1], 13); v[1] ^= v[0]; v[0] = FASTWS_ROTATE(v[0], 32);
    v[2] += v[3]; v[3] = FASTWS_ROTATE(v[3], 16); v[3] ^= v[2];
    v[0] += v[3]; v[3] = FASTWS_ROTATE(v[3], 21); v[3] ^= v[0];
    v[2] += v[1]; v[1] = FASTWS_ROTATE(v[1], 17); v[1] ^= v[2]; v[2] = FASTWS_ROTATE(v[2], 32);
}

static uint64_t fastws_siphash(const unsigned char *data, size_t size, uint64_t key0, uint64_t key1)
{
    uint64_t v[4] = {
        key0 ^ 0x736f6d6570736575ULL, key1 ^ 0x646f72616e646f6dULL,
        key0 ^ 0x6c7967656e657261ULL, key1 ^ 0x7465646279746573ULL,
    };
    uint64_t word, last = (uint64_t)size << 56;
    size_t i, whole = size & ~(size_t)7;
    for (i = 0; i < whole; i += 8) {
        memcpy(&word, data + i, 8);     /* little-endian machines: the hash need not be the same elsewhere */
        v[3] ^= word;
        fastws_sip_round(v);
        fastws_sip_round(v);
        v[0] ^= word;
    }
    for (; i < size; i++)
        last |= (uint64_t)data[i] << (8 * (i - whole));
    v[3] ^= last;
    fastws_sip_round(v);
    fastws_sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (i = 0; i < 4; i++)
        fastws_sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
