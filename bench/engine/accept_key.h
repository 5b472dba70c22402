/* Sec-WebSocket-Accept (RFC 6455, 4.2.2): base64(SHA-1(key + GUID)), for the load engine and the C peers. */
#ifndef BENCH_ACCEPT_KEY_H
#define BENCH_ACCEPT_KEY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KEY_LENGTH 24    /* base64 of 16 bytes */
#define ACCEPT_LENGTH 28 /* base64 of 20 bytes */

static inline uint32_t rotate_left(uint32_t value, int bits) {
    return value << bits | value >> (32 - bits);
}

static void sha1_block(uint32_t state[5], const unsigned char block[64]) {
    uint32_t w[80];
    for (int i = 0; i < 16; i++) {
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    }
    for (int i = 16; i < 80; i++) w[i] = rotate_left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) {
            f = d ^ (b & (c ^ d)), k = 0x5A827999;
        } else if (i < 40) {
            f = b ^ c ^ d, k = 0x6ED9EBA1;
        } else if (i < 60) {
            f = (b & c) | (d & (b | c)), k = 0x8F1BBCDC;
        } else {
            f = b ^ c ^ d, k = 0xCA62C1D6;
        }
        uint32_t next = rotate_left(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rotate_left(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

static void base64(const unsigned char *bytes, size_t count, char *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < count; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16;
        if (i + 1 < count) three |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < count) three |= bytes[i + 2];
        *out++ = digits[three >> 18];
        *out++ = digits[three >> 12 & 63];
        *out++ = i + 1 < count ? digits[three >> 6 & 63] : '=';
        *out++ = i + 2 < count ? digits[three & 63] : '=';
    }
}

/* key: exactly KEY_LENGTH characters; out: ACCEPT_LENGTH characters, no terminating zero. */
static void accept_key(const char *key, char *out) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char message[128] = {0};
    size_t length = KEY_LENGTH + sizeof guid - 1;
    memcpy(message, key, KEY_LENGTH);
    memcpy(message + KEY_LENGTH, guid, sizeof guid - 1);
    message[length] = 0x80; /* 60 bytes: the padding takes a second block, whose end is the length in bits */
    message[126] = (unsigned char)(length * 8 >> 8);
    message[127] = (unsigned char)(length * 8);
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    sha1_block(state, message);
    sha1_block(state, message + 64);
    unsigned char digest[20];
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 4; j++) digest[4 * i + j] = (unsigned char)(state[i] >> (24 - 8 * j));
    }
    base64(digest, sizeof digest, out);
}

#endif
