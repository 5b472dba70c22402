/* permessage-deflate (RFC 7692) for messages that stand alone: no context is taken over in either direction. */
#include <stdlib.h>
#include <string.h>

#ifdef WITH_DEFLATE
#include <zlib.h>
#endif

#include "load.h"

#ifdef WITH_DEFLATE

#define TAIL_LENGTH 4 /* of an empty block, which is not sent (7.2.1) */

/* The compressed payload, allocated; its size goes to *length. NULL without memory. */
unsigned char *deflate_payload(const unsigned char *payload, size_t size, size_t *length) {
    z_stream stream = {0};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY)) return NULL;
    size_t room = deflateBound(&stream, size) + 16;
    unsigned char *compressed = malloc(room);
    stream.next_in = (Bytef *)payload;
    stream.avail_in = (uInt)size;
    stream.next_out = compressed;
    stream.avail_out = (uInt)room;
    deflate(&stream, Z_SYNC_FLUSH);
    *length = stream.total_out - TAIL_LENGTH;
    deflateEnd(&stream);
    return compressed;
}

/* Whether the compressed bytes are those of the payload. */
int inflates_to(const unsigned char *compressed, size_t length, const unsigned char *payload, size_t size) {
    static const unsigned char tail[TAIL_LENGTH] = {0, 0, 0xff, 0xff};
    static z_stream stream;
    static int ready;
    if (!ready) ready = inflateInit2(&stream, -MAX_WBITS) == Z_OK;
    unsigned char *inflated = malloc(size + 1); /* one more, to see whether there is more */
    if (!ready || !inflated) return 0;
    inflateReset(&stream);
    stream.next_in = (Bytef *)compressed;
    stream.avail_in = (uInt)length;
    stream.next_out = inflated;
    stream.avail_out = (uInt)size + 1;
    int state = inflate(&stream, Z_SYNC_FLUSH);
    if (state == Z_OK || state == Z_BUF_ERROR) {
        stream.next_in = (Bytef *)tail;
        stream.avail_in = TAIL_LENGTH;
        state = inflate(&stream, Z_SYNC_FLUSH);
    }
    int sound = state == Z_OK || state == Z_BUF_ERROR || state == Z_STREAM_END;
    int same = sound && stream.total_out == size && !memcmp(inflated, payload, size);
    free(inflated);
    return same;
}

#else

unsigned char *deflate_payload(const unsigned char *payload, size_t size, size_t *length) {
    (void)payload;
    (void)size;
    (void)length;
    return NULL;
}

int inflates_to(const unsigned char *compressed, size_t length, const unsigned char *payload, size_t size) {
    (void)compressed;
    (void)length;
    (void)payload;
    (void)size;
    return 0;
}

#endif
