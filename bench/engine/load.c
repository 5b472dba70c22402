/* What the command line says. See load.h for the whole. */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "load.h"

static const char usage[] =
    "usage: load MODE --port PORT|--unix PATH [options]\n"
    "  echo      every connection keeps --inflight messages on their way\n"
    "  rate      --rate messages a second on a fixed schedule; latency counts from when a message was due\n"
    "  idle      holds the connections, answers pings\n"
    "  connect   upgrades only\n"
    "  fanout    one more connection publishes; the next burst goes out when all others have heard the last one;\n"
    "            messages are deliveries, latency is the time until the last subscriber has a burst\n"
    "  rooms     every connection is a member of a room and speaks in it in its turn; messages are deliveries, latency\n"
    "            counts from when a publication was due; each line 'RATE WARMUP SECONDS' of standard input is a step with\n"
    "            a report of its own; after a line 'stall' some read nothing any more; ends at the end of the input\n"
    "options (default):\n"
    "  --connections N (100)   --processes N (1)       --concurrency N dialling at once, each process (256)\n"
    "  --path PATH (/echo)     --header 'Name: value'  --server-pid PID to read CPU time of; both may be repeated\n"
    "  --size BYTES (64; 128)  --text                  --inflight N (1)       --rate PER_SECOND (1000)\n"
    "  --warmup S (0.5)        --seconds S (3)         --connect-seconds S (60)\n"
    "  --fragments N (1) frames of each message (echo, rate)   --tls, without verification\n"
    "  --deflate               compressed messages, no context taken over; replies may be compressed or not\n"
    "  --subscribe TEXT        what every connection but the publisher says after its upgrade (idle, fanout, rooms)\n"
    "  --rooms N (1)           --stalled N (0) members of each room who will stop\n"
    "  --words FILE            a line for each connection in turn, which is {word} in --path, --header and --subscribe;\n"
    "                          {room} there and in --publish of rooms is the number of its room\n"
    "  --publish-path PATH (--path)   --publish TEXT with {payload} in it ({payload})   --burst N in a write (1)\n"
    "  --publish-port PORT (--port)   of another server, to which the publisher of fanout goes\n"
    "  --until-stdin           idle: until a line or the end of standard input, at most --seconds\n"
    "  --connect-seconds       bounds the dialling, and then what it takes until every subscriber hears the publisher\n"
    "  --abrupt                end with resets, not close frames\n"
    "  --urgent                comes before other processes on its CPU, as far as the system allows\n"
    "  --progress              JSON lines on standard error\n";

const char *const mode_names[MODES] = {"echo", "rate", "idle", "connect", "fanout", "rooms"};

static void refuse(const char *why) {
    fprintf(stderr, "load: %s\n%s", why, usage);
    exit(2);
}

static enum mode mode_named(const char *name) {
    for (int i = 0; i < MODES; i++) {
        if (!strcmp(name, mode_names[i])) return (enum mode)i;
    }
    refuse("unknown mode");
    return ECHO;
}

static void check_publication(options *o) {
    const char *hole = strstr(o->publish, PAYLOAD_HOLE);
    if (!hole || strstr(hole + 1, PAYLOAD_HOLE)) refuse("--publish has {payload} in it, once");
    if (strlen(o->publish) > LARGEST_TEXT) refuse("--publish is at most 4096 bytes");
    if (o->size < LEAST_PUBLICATION) refuse("--size of a publication is at least 24");
    if (o->burst < 1 || o->burst > MOST_BURST) refuse("--burst is 1 to 256");
    if (!o->publish_path) o->publish_path = o->path;
    if (!o->publish_port) o->publish_port = o->port;
    if (!*o->unix_path && (o->publish_port < 1 || o->publish_port > 65535)) refuse("--publish-port is 1 to 65535");
    o->run_number = (uint32_t)mix(now_ns());
}

static void check_rooms(const options *o) {
    if (o->rooms < 1 || o->connections % o->rooms) refuse("--connections is a multiple of --rooms");
    if (o->processes > o->rooms) refuse("--processes is at most --rooms");
    if (o->stalled < 0 || o->stalled >= o->connections / o->rooms) refuse("--stalled is less than the members of a room");
}

static void check_variants(const options *o) {
    int answered = o->mode == ECHO || o->mode == RATE;
    if (o->fragments < 1 || o->fragments > MOST_FRAGMENTS) refuse("--fragments is 1 to 1024");
    if (o->fragments > 1 && (!answered || (size_t)o->fragments > o->size)) {
        refuse("--fragments goes with echo and rate, and is at most --size");
    }
    if (o->deflate && (o->mode == FANOUT || o->mode == ROOMS)) refuse("--deflate does not go with fanout and rooms");
    if (o->deflate && !HAS_DEFLATE) refuse("--deflate is not built in: zlib.h (zlib1g-dev) was missing");
    if (o->tls && !HAS_TLS) refuse("--tls is not built in: openssl/ssl.h (libssl-dev) was missing");
}

static void check(options *o) {
    struct rlimit files;
    if (!*o->unix_path && (o->port < 1 || o->port > 65535)) refuse("--port is 1 to 65535");
    if (strlen(o->unix_path) > 107) refuse("--unix is at most 107 bytes");
    if (strlen(o->path) > 1024 || (o->publish_path && strlen(o->publish_path) > 1024)) refuse("--path is too long");
    check_variants(o);
    if (o->connections < 1 || o->connections > MOST_CONNECTIONS) refuse("--connections is 1 to 2,000,000");
    if (o->processes < 1 || o->processes > MOST_PROCESSES) refuse("--processes is 1 to 64");
    if (o->connections < o->processes) o->processes = o->connections;
    if (o->concurrency < 1) refuse("--concurrency is at least 1");
    if (o->inflight < 1 || o->inflight > 4096) refuse("--inflight is 1 to 4096");
    if (o->size > 16u << 20 || o->size * (size_t)o->inflight > 256u << 20) {
        refuse("--size is at most 16 MiB, and 256 MiB in flight on a connection");
    }
    if (*o->subscribe && (o->mode != IDLE && o->mode != FANOUT && o->mode != ROOMS)) {
        refuse("--subscribe goes with idle, fanout and rooms");
    }
    if (strlen(o->subscribe) > LARGEST_TEXT) refuse("--subscribe is at most 4096 bytes");
    if (o->mode == FANOUT || o->mode == ROOMS) check_publication(o);
    if (o->mode == ROOMS) check_rooms(o);
    if (!(o->rate > 0) || o->rate > 1e8) refuse("--rate is more than 0");
    if (!(o->seconds >= 0 && o->seconds <= MOST_SECONDS)) refuse("--seconds is 0 to 7200");
    if (!(o->warmup >= 0 && o->warmup <= MOST_SECONDS)) refuse("--warmup is 0 to 7200");
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if ((rlim_t)(o->connections / o->processes) + 32 > files.rlim_max) {
        refuse("more connections than descriptors (ulimit -n): use more --processes");
    }
}

static void add_header(options *o, const char *line) {
    size_t used = strlen(o->headers);
    if (used + strlen(line) + 3 > sizeof o->headers) refuse("--header: too much");
    if (strpbrk(line, "\r\n")) refuse("--header: without line ends");
    strcat(strcat(o->headers, line), "\r\n");
}

static void parse(options *o, int argc, char **argv) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"processes", 1, 0, 'P'}, {"concurrency", 1, 0, 'd'},
        {"path", 1, 0, 'a'}, {"header", 1, 0, 'h'}, {"server-pid", 1, 0, 'i'}, {"size", 1, 0, 's'}, {"text", 0, 0, 't'},
        {"inflight", 1, 0, 'k'}, {"rate", 1, 0, 'r'}, {"warmup", 1, 0, 'w'}, {"seconds", 1, 0, 'S'},
        {"connect-seconds", 1, 0, 'C'}, {"until-stdin", 0, 0, 'u'}, {"abrupt", 0, 0, 'x'}, {"progress", 0, 0, 'g'},
        {"subscribe", 1, 0, 'b'}, {"publish-path", 1, 0, 'A'}, {"publish", 1, 0, 'B'}, {"burst", 1, 0, 'n'},
        {"publish-port", 1, 0, 'D'},
        {"urgent", 0, 0, 'U'}, {"fragments", 1, 0, 'f'}, {"deflate", 0, 0, 'z'}, {"tls", 0, 0, 'T'},
        {"unix", 1, 0, 'X'}, {"rooms", 1, 0, 'R'}, {"stalled", 1, 0, 'Z'}, {"words", 1, 0, 'W'}, {0}};
    const char *problem;
    if (argc < 2) refuse("which mode?");
    o->mode = mode_named(argv[1]);
    if (o->mode == FANOUT || o->mode == ROOMS) o->size = 128;
    for (int option; (option = getopt_long(argc - 1, argv + 1, "", known, NULL)) != -1;) {
        switch (option) {
            case 'p': o->port = atoi(optarg); break;
            case 'c': o->connections = atoi(optarg); break;
            case 'P': o->processes = atoi(optarg); break;
            case 'd': o->concurrency = atoi(optarg); break;
            case 'a': o->path = optarg; break;
            case 'h': add_header(o, optarg); break;
            case 'i':
                if (o->server_pid_count < MOST_SERVER_PIDS) o->server_pids[o->server_pid_count++] = atoi(optarg);
                break;
            case 's': o->size = strtoul(optarg, NULL, 10); break;
            case 't': o->text = 1; break;
            case 'k': o->inflight = atoi(optarg); break;
            case 'r': o->rate = atof(optarg); break;
            case 'w': o->warmup = atof(optarg); break;
            case 'S': o->seconds = atof(optarg); break;
            case 'C': o->connect_seconds = atof(optarg); break;
            case 'u': o->until_stdin = 1; break;
            case 'x': o->abrupt = 1; break;
            case 'b': o->subscribe = optarg; break;
            case 'A': o->publish_path = optarg; break;
            case 'B': o->publish = optarg; break;
            case 'D': o->publish_port = atoi(optarg); break;
            case 'n': o->burst = atoi(optarg); break;
            case 'f': o->fragments = atoi(optarg); break;
            case 'z': o->deflate = 1; break;
            case 'T': o->tls = 1; break;
            case 'X': o->unix_path = optarg; break;
            case 'U': o->urgent = 1; break;
            case 'R': o->rooms = atoi(optarg); break;
            case 'Z': o->stalled = atoi(optarg); break;
            case 'W':
                if ((problem = words_read(o, optarg))) refuse(problem);
                break;
            case 'g': o->progress = 1; break;
            default: refuse("unknown option");
        }
    }
    check(o);
}

int main(int argc, char **argv) {
    options o = {.connections = 100, .processes = 1, .concurrency = 256, .inflight = 1, .size = 64, .warmup = 0.5,
                 .seconds = 3, .connect_seconds = 60, .rate = 1000, .path = "/echo", .subscribe = "", .publish = PAYLOAD_HOLE,
                 .burst = 1, .unix_path = "", .fragments = 1, .rooms = 1};
    parse(&o, argc, argv);
    return direct(&o);
}
