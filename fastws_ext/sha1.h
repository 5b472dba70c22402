/* SHA-1 (RFC 3174) of at most 119 bytes, and the Sec-WebSocket-Accept value made with it (RFC 6455 4.2.2). */
#ifndef FASTWS_SHA1_H
#define FASTWS_SHA1_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t fastws_rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void fastws_sha1_block(uint32_t state[5], const uint8_t *p)
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = fastws_rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) { f = (b & c) | (~b & d); k = 0x5A827999; }
        else if (i < 40) { f = b ^ c ^ d; k = 0x6ED9EBA1; }
        else if (i < 60) { f = (b & c) | (b & d) | (c & d); k = 0x8F1BBCDC; }
        else { f = b ^ c ^ d; k = 0xCA62C1D6; }
        uint32_t t = fastws_rotate(a, 5) + f + e + k + w[i];
        e = d; d = c; c = fastws_rotate(b, 30); b = a; a = t;
    }
    state[0] += a; state[1] += b; state[2] += c; state[3] += d; state[4] += e;
}

static void fastws_sha1_short(uint8_t digest[20], const uint8_t *p, size_t n)
{
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t padded[128] = {0};
    size_t size = n + 9 <= 64 ? 64 : 128;
    memcpy(padded, p, n);
    padded[n] = 0x80;
    padded[size - 2] = (uint8_t)(n * 8 >> 8);
    padded[size - 1] = (uint8_t)(n * 8);
    for (size_t i = 0; i < size; i += 64)
        fastws_sha1_block(state, padded + i);
    for (int i = 0; i < 20; i++)
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i & 3)));
}

/* key: the 24 characters of Sec-WebSocket-Key; out: the 28 characters of the answer. */
static void fastws_accept_key(char out[28], const char key[24])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t text[60], digest[21] = {0};
    memcpy(text, key, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    fastws_sha1_short(digest, text, 60);
    for (int i = 0, o = 0; i < 21; i += 3, o += 4) {
        uint32_t three = (uint32_t)digest[i] << 16 | (uint32_t)digest[i + 1] << 8 | digest[i + 2];
        out[o] = alphabet[three >> 18];
        out[o + 1] = alphabet[three >> 12 & 63];
        out[o + 2] = alphabet[three >> 6 & 63];
        out[o + 3] = alphabet[three & 63];
    }
    out[27] = '=';
}
#endif
