/* The pool of auth_pool.h: a list under a lock, and a few threads that take from it. */
#include "auth_pool.h"

#include "base/clock.h"
#include "base/mem.h"
#include <pthread.h>
#include <unistd.h>

struct auth_pool {
    pthread_mutex_t lock; /* of all below, but for `threads` and `count` */
    pthread_cond_t work;
    struct auth_job *first, **last;
    size_t jobs, bytes;
    bool stopping;
    unsigned count;
    pthread_t threads[];
};

static struct auth_job *take(struct auth_pool *p)
{
    struct auth_job *job = p->first;
    if (job == NULL) return NULL;
    p->first = job->next;
    if (p->first == NULL) p->last = &p->first;
    p->jobs--;
    p->bytes -= job->bytes;
    return job;
}

static struct auth_job *wait_for_job(struct auth_pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->first == NULL && !p->stopping) pthread_cond_wait(&p->work, &p->lock);
    struct auth_job *job = p->stopping ? NULL : take(p);
    pthread_mutex_unlock(&p->lock);
    return job;
}

static void *pool_main(void *arg)
{
    struct auth_pool *p = arg;
    (void)pthread_setname_np(pthread_self(), "sluice-auth"); /* for top and gdb only */
    (void)!nice(AUTH_NICE);                                  /* on Linux: of this thread */
    for (struct auth_job *job; (job = wait_for_job(p)) != NULL;) {
        bool late = clock_mono_ms() >= job->expires_ms;
        job->verdict = late ? AUTH_LATE : job->check(job);
        job->done(job);
    }
    return NULL;
}

int auth_pool_submit(struct auth_pool *p, struct auth_job *job)
{
    pthread_mutex_lock(&p->lock);
    bool room = p->jobs < AUTH_QUEUE_MAX && p->bytes + job->bytes <= AUTH_QUEUE_BYTES;
    if (room) {
        job->next = NULL;
        *p->last = job;
        p->last = &job->next;
        p->jobs++;
        p->bytes += job->bytes;
        pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    return room ? 0 : E_FULL;
}

int auth_pool_new(struct auth_pool **out, unsigned threads)
{
    struct auth_pool *p = mem_calloc(1, sizeof *p + threads * sizeof p->threads[0]);
    if (p == NULL) return E_NOMEM;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    while (p->count < threads && pthread_create(&p->threads[p->count], NULL, pool_main, p) == 0)
        p->count++;
    if (p->count < threads) {
        auth_pool_free(&p);
        return E_IO;
    }
    *out = p;
    return 0;
}

void auth_pool_free(struct auth_pool **pool)
{
    struct auth_pool *p = *pool;
    if (p == NULL) return;
    *pool = NULL;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->count; i++) pthread_join(p->threads[i], NULL);
    for (struct auth_job *job; (job = take(p)) != NULL; job->done(job)) job->verdict = AUTH_STOPPED;
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
}
