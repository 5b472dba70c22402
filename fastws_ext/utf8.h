/* Incremental UTF-8 validation with one byte of state (RFC 3629: nothing overlong, no surrogates, at most U+10FFFF). */
#ifndef FASTWS_UTF8_H
#define FASTWS_UTF8_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    UTF8_ACCEPT = 0, /* between characters */
    UTF8_ONE = 1,    /* one, two or three continuation bytes to come */
    UTF8_TWO = 2,
    UTF8_THREE = 3,
    UTF8_E0 = 4,     /* the byte after E0, ED, F0, F4 has a narrower range */
    UTF8_ED = 5,
    UTF8_F0 = 6,
    UTF8_F4 = 7,
    UTF8_REJECT = 8
};

static inline uint8_t fastws_utf8_first(uint8_t c)
{
    if (c < 0x80) return UTF8_ACCEPT;
    if (c < 0xC2) return UTF8_REJECT;
    if (c < 0xE0) return UTF8_ONE;
    if (c == 0xE0) return UTF8_E0;
    if (c == 0xED) return UTF8_ED;
    if (c < 0xF0) return UTF8_TWO;
    if (c == 0xF0) return UTF8_F0;
    if (c < 0xF4) return UTF8_THREE;
    if (c == 0xF4) return UTF8_F4;
    return UTF8_REJECT;
}

static inline uint8_t fastws_utf8_next(uint8_t state, uint8_t c)
{
    uint8_t low = 0x80, high = 0xBF, after;
    switch (state) {
    case UTF8_ACCEPT: return fastws_utf8_first(c);
    case UTF8_ONE: after = UTF8_ACCEPT; break;
    case UTF8_TWO: after = UTF8_ONE; break;
    case UTF8_THREE: after = UTF8_TWO; break;
    case UTF8_E0: low = 0xA0; after = UTF8_ONE; break;
    case UTF8_ED: high = 0x9F; after = UTF8_ONE; break;
    case UTF8_F0: low = 0x90; after = UTF8_TWO; break;
    case UTF8_F4: high = 0x8F; after = UTF8_TWO; break;
    default: return UTF8_REJECT;
    }
    return (c >= low && c <= high) ? after : UTF8_REJECT;
}

/* Returns how many bytes were right: n, or the index of the first wrong one (then *state is UTF8_REJECT). */
static inline size_t fastws_utf8_feed(uint8_t *state, const uint8_t *p, size_t n)
{
    size_t i = 0;
    uint8_t s = *state;
    uint64_t chunk;
    while (i < n) {
        if (s == UTF8_ACCEPT) {
            while (i + 8 <= n) {
                memcpy(&chunk, p + i, 8);
                if (chunk & 0x8080808080808080ULL) break;
                i += 8;
            }
            if (i >= n) break;
        }
        s = fastws_utf8_next(s, p[i]);
        if (s == UTF8_REJECT) break;
        i++;
    }
    *state = s;
    return i;
}
#endif
