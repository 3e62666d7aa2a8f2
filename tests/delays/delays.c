/*
 * Delays system calls of a program at random: for scripts/delays, by LD_PRELOAD.
 *
 * Before and after each call below, the calling thread sleeps for up to DELAYS_MS milliseconds, with a probability of DELAYS_PERCENT.
 * The calls include each wait of a thread for another and each wake-up. Their results are unchanged.
 */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static uint64_t percent;
static uint64_t nanoseconds_max;

static uint64_t number_of(const char *name) {
    const char *text = getenv(name);
    return text == NULL ? 0 : strtoull(text, NULL, 10);
}

__attribute__((constructor)) static void start(void) {
    percent = number_of("DELAYS_PERCENT");
    nanoseconds_max = number_of("DELAYS_MS") * 1000000;
    /* Programs that this one starts are not delayed. */
    unsetenv("LD_PRELOAD");
}

static long pass_on(long number, long a, long b, long c, long d, long e, long f) {
    static long (*next)(long, ...);
    if (next == NULL)
        next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(number, a, b, c, d, e, f);
}

static void delay(void) {
    static __thread uint64_t random;
    int error = errno;
    if (random == 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        random = ((uint64_t)now.tv_nsec << 20) ^ (uintptr_t)&random ^ 1;
    }
    /* xorshift64 */
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    if (nanoseconds_max != 0 && random % 100 < percent) {
        uint64_t time = (random >> 20) % nanoseconds_max;
        struct timespec pause = {.tv_sec = time / 1000000000, .tv_nsec = time % 1000000000};
        pass_on(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (long)&pause, 0, 0, 0);
    }
    errno = error;
}

#define DELAYED(type, name, parameters, arguments)              \
    type name parameters {                                      \
        static type(*next) parameters;                          \
        if (next == NULL)                                       \
            next = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        delay();                                                \
        type result = next arguments;                           \
        delay();                                                \
        return result;                                          \
    }

DELAYED(int, accept4, (int socket, struct sockaddr *restrict address, socklen_t *restrict length, int flags), (socket, address, length, flags))
DELAYED(ssize_t, read, (int file, void *bytes, size_t length), (file, bytes, length))
DELAYED(ssize_t, recv, (int socket, void *bytes, size_t length, int flags), (socket, bytes, length, flags))
DELAYED(ssize_t, send, (int socket, const void *bytes, size_t length, int flags), (socket, bytes, length, flags))
DELAYED(ssize_t, write, (int file, const void *bytes, size_t length), (file, bytes, length))
DELAYED(ssize_t, writev, (int file, const struct iovec *pieces, int count), (file, pieces, count))

/* Rust's locks, condition variables and parked threads use futexes, which are called by number. */
long syscall(long number, ...) {
    va_list rest;
    va_start(rest, number);
    long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
    long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
    va_end(rest);
    if (number != SYS_futex)
        return pass_on(number, a, b, c, d, e, f);
    delay();
    long result = pass_on(number, a, b, c, d, e, f);
    delay();
    return result;
}
