/* sluicectl: what went wrong, for people.  One thread. */
#include "ctl.h"

#include <stdarg.h>
#include <stdio.h>

int ctl_fail(int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("sluicectl: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}
