/* The allocator of every room.  One door, so that tests can make the nth allocation fail and look
 * whether anything leaks, crashes or is half done.  Any thread. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/base.h"

MUST_USE void *mem_alloc(size_t size); /* NULL when there is none */
MUST_USE void *mem_calloc(size_t count, size_t size);
/* Starts and ends at a cache line: for what one thread writes often, so that its neighbours in
 * memory, which others read, are not taken from them each time.  size: a multiple of MEM_LINE. */
enum { MEM_LINE = 64 };
MUST_USE void *mem_calloc_aligned(size_t count, size_t size);
/* For tables that are read at random: large ones lie on huge pages where the kernel has them, as
 * else nearly each read also misses the processor's table of pages. */
MUST_USE void *mem_calloc_table(size_t count, size_t size);
MUST_USE void *mem_realloc(void *p, size_t size);    /* NULL: p is as it was */
MUST_USE char *mem_strndup(const void *p, size_t n); /* adds the final 0 */
void mem_free(void *p);

enum { MEM_FAIL_NONE = -1, MEM_FAIL_ALL = -2 };
/* Test hook, this thread only: the allocation after `countdown` more fails, once; or one of the
 * above.  Returns whether the previous order has fired. */
bool mem_fail_after(long countdown);
/* For allocators upon this one, at each of their allocations: whether it is to fail. */
bool mem_fails_now(void);

#endif
