/* Assertions for code that runs without the GIL.
 *
 * CHECK(condition, format, ...) is always on and cheap: if the condition is false, it prints file,
 * line, condition and values to stderr and aborts. A broken invariant is a bug in Pound, and to go
 * on would lose or duplicate a request. POUND_CHECKS is 1 under POUND_DEBUG=1, else 0: put
 * `if POUND_CHECKS` before an expensive check.
 */
#ifndef POUND_CHECK_H
#define POUND_CHECK_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __GNUC__
__attribute__((cold, noreturn, unused, format(printf, 4, 5)))
#endif
static void pound_check_failed(const char *file, int line, const char *condition,
                               const char *format, ...)
{
    va_list values;

    fprintf(stderr, "%s:%d: CHECK(%s): ", file, line, condition);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    fflush(stderr);
    abort();
}

#define CHECK(condition, ...) \
    ((condition) ? (void)0 : pound_check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__))

#ifdef POUND_DEBUG
#define POUND_CHECKS 1
#else
#define POUND_CHECKS 0
#endif

#endif
