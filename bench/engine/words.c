/* What differs from connection to connection in what is sent: the number of its room, a line of a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define ROOM_HOLE "{room}"
#define WORD_HOLE "{word}"
#define MOST_WORDS_SIZE (1u << 30)

/* Reads the lines of a file into the options. Returns what is wrong, or NULL. */
const char *words_read(options *o, const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) return "--words cannot be read";
    size_t size = 0, room = 1 << 16;
    char *text = malloc(room);
    for (size_t got; text && (got = fread(text + size, 1, room - size - 1, file)) > 0;) {
        size += got;
        if (size + 1 < room) continue;
        room *= 2;
        text = room > MOST_WORDS_SIZE ? NULL : realloc(text, room);
    }
    fclose(file);
    if (!text) return "--words is too long";
    text[size] = 0;
    for (size_t i = 0; i < size; i++) o->word_count += text[i] == '\n';
    if (!o->word_count) return "--words has no lines, each with its end";
    o->words = calloc((size_t)o->word_count, sizeof *o->words);
    for (int i = 0; i < o->word_count; i++) {
        char *end = strchr(text, '\n');
        *end = 0;
        if (end - text > LONGEST_WORD) return "--words has a line of more than 2000 bytes";
        o->words[i] = text;
        text = end + 1;
    }
    return NULL;
}

static const char *word_of(const worker *w, const client *c) {
    const options *o = w->options;
    return o->word_count ? o->words[(w->first_number + index_of(w, c)) % o->word_count] : "";
}

/* A text with its holes filled for this connection, in `to`. Returns its length, 0 if `size` bytes are not enough. */
size_t words_fill(const worker *w, const client *c, const char *text, char *to, size_t size) {
    size_t used = 0;
    while (*text) {
        char number[16];
        const char *piece = text;
        size_t length = 1;
        if (!strncmp(text, ROOM_HOLE, strlen(ROOM_HOLE))) {
            length = (size_t)snprintf(number, sizeof number, "%d", room_number(w, c));
            piece = number;
            text += strlen(ROOM_HOLE);
        } else if (!strncmp(text, WORD_HOLE, strlen(WORD_HOLE))) {
            piece = word_of(w, c);
            length = strlen(piece);
            text += strlen(WORD_HOLE);
        } else {
            text++;
        }
        if (used + length >= size) {
            used = 0;
            break;
        }
        memcpy(to + used, piece, length);
        used += length;
    }
    to[used] = 0;
    return used;
}
