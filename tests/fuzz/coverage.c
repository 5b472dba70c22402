/* Tells libFuzzer which code of the extension modules an input reaches.

   gcc calls __sanitizer_cov_trace_pc at every edge (-fsanitize-coverage=trace-pc), which libFuzzer itself does not
   count; here each call counts in one of 65,536 counters, chosen by the address it came from. What compares numbers
   (trace-cmp) is handed on. libFuzzer is inside a module of atheris, whose symbols must not be seen by others: its
   functions are found by name in that module alone. */

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#define COUNTERS 65536

typedef void (*between)(const void *start, const void *stop);

static uint8_t counters[COUNTERS];
static uintptr_t addresses[2 * COUNTERS];       /* pairs: an address, flags */

void __sanitizer_cov_trace_pc(void)
{
    uintptr_t from = (uintptr_t)__builtin_return_address(0);
    uint8_t *counter = &counters[(from ^ from >> 16) & (COUNTERS - 1)];
    if (*counter != 255)
        ++*counter;
}

/* Called in tail position, so that libFuzzer sees the address of the comparison as the one to return to. */
#define HANDED_ON(name, type)                                   \
    static void quiet_##name(type a, type b) { (void)a; (void)b; } \
    static void (*to_##name)(type, type) = quiet_##name;        \
    void __sanitizer_cov_trace_##name(type a, type b) { to_##name(a, b); }

HANDED_ON(cmp1, uint8_t)
HANDED_ON(cmp2, uint16_t)
HANDED_ON(cmp4, uint32_t)
HANDED_ON(cmp8, uint64_t)
HANDED_ON(const_cmp1, uint8_t)
HANDED_ON(const_cmp2, uint16_t)
HANDED_ON(const_cmp4, uint32_t)
HANDED_ON(const_cmp8, uint64_t)

static void quiet_switch(uint64_t value, uint64_t *cases) { (void)value; (void)cases; }
static void (*to_switch)(uint64_t, uint64_t *) = quiet_switch;
void __sanitizer_cov_trace_switch(uint64_t value, uint64_t *cases) { to_switch(value, cases); }

/* libFuzzer has no use for what is compared as floating point. */
void __sanitizer_cov_trace_cmpf(float a, float b) { (void)a; (void)b; }
void __sanitizer_cov_trace_cmpd(double a, double b) { (void)a; (void)b; }

/* To be called once, before libFuzzer starts; `library` is a handle of the module that has it. 0, or -1 if it is not
   there. */
int fastws_connect(void *library)
{
    between use_counters = (between)dlsym(library, "__sanitizer_cov_8bit_counters_init");
    between use_addresses = (between)dlsym(library, "__sanitizer_cov_pcs_init");
    void *found;
    size_t i;
    if (!use_counters || !use_addresses)
        return -1;
#define CONNECT(name)                                                       \
    if ((found = dlsym(library, "__sanitizer_cov_trace_" #name)) != NULL)   \
        *(void **)&to_##name = found;
    CONNECT(cmp1) CONNECT(cmp2) CONNECT(cmp4) CONNECT(cmp8)
    CONNECT(const_cmp1) CONNECT(const_cmp2) CONNECT(const_cmp4) CONNECT(const_cmp8)
    CONNECT(switch)
    for (i = 0; i < COUNTERS; i++)
        addresses[2 * i] = (uintptr_t)&counters[i];
    use_counters(counters, counters + COUNTERS);
    use_addresses(addresses, addresses + 2 * COUNTERS);
    return 0;
}
