/* malloc with a fault hook.  The countdown is the one global of the base room: an allocator has
 * no object to carry it, and it is per thread. */
#include "base/mem.h"

#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

static _Thread_local long fail_countdown = MEM_FAIL_NONE;
static _Thread_local bool fail_fired;

bool mem_fail_after(long countdown)
{
    bool fired = fail_fired;
    fail_countdown = countdown;
    fail_fired = false;
    return fired;
}

bool mem_fails_now(void)
{
    if (LIKELY(fail_countdown == MEM_FAIL_NONE)) return false;
    if (fail_countdown != MEM_FAIL_ALL && fail_countdown-- > 0) return false;
    fail_fired = true;
    return true;
}

void *mem_alloc(size_t size) { return mem_fails_now() ? NULL : malloc(size ? size : 1); }
void *mem_calloc(size_t count, size_t size)
{
    return mem_fails_now() ? NULL : calloc(count ? count : 1, size ? size : 1);
}
void *mem_calloc_aligned(size_t count, size_t size)
{
    ASSERT(size % MEM_LINE == 0 && count < SIZE_MAX / size);
    void *p = mem_fails_now() ? NULL : aligned_alloc(MEM_LINE, count * size);
    return p ? memset(p, 0, count * size) : NULL;
}
void *mem_calloc_table(size_t count, size_t size)
{
    if (count * size < HUGE_PAGE) return mem_calloc(count, size);
    ASSERT(count * size % HUGE_PAGE == 0);
    void *p = mem_fails_now() ? NULL : aligned_alloc(HUGE_PAGE, count * size);
    if (p == NULL) return NULL;
    (void)madvise(p, count * size, MADV_HUGEPAGE); /* a wish: speed only */
    return memset(p, 0, count * size);
}
void *mem_realloc(void *p, size_t size)
{
    return mem_fails_now() ? NULL : realloc(p, size ? size : 1);
}
void mem_free(void *p) { free(p); }

char *mem_strndup(const void *p, size_t n)
{
    char *s = mem_alloc(n + 1);
    if (s == NULL) return NULL;
    if (n) memcpy(s, p, n);
    s[n] = 0;
    return s;
}
