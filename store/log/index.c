/* Building, writing and reading indexes.  While building, each topic collects the distances of its
 * messages, as numbers of few bytes; sorted by name they are the file. */
#include "store/log/index.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/ptrmap.h"
#include "store/log/crc32c.h"
#include "store/log/format.h"
#include "store/log/walk.h"

#include <errno.h>
#include <fcntl.h>

enum { VARINT_MAX = 10, CRC_AT = HEADER_BYTES - 4, MAGIC_BYTES = 8 };

static const char index_magic[] = "SLUICEIX";

/* ---- numbers ---- */

static uint8_t *number_put(uint8_t *d, uint64_t v)
{
    for (; v >= 128; v >>= 7) *d++ = (uint8_t)(v | 128);
    *d++ = (uint8_t)v;
    return d;
}

static bool number_get(struct bytes *b, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; b->n > 0 && shift < 64; shift += 7) {
        uint8_t byte = *b->p;
        *b = bytes_skip(*b, 1);
        *v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return false;
}

/* ---- building ---- */

struct topic {
    struct topic *next; /* in the order of their coming */
    struct buf places;
    uint64_t last; /* position of its last message */
    uint32_t count;
    uint32_t name_bytes;
    uint8_t name[];
};

struct builder {
    struct ptrmap topics;
    struct topic *first;
    struct index *out;
    uint64_t base;
};

static uint64_t topic_hash(const void *elem, uint64_t seed)
{
    const struct topic *t = elem;
    return hash_bytes(bytes_of(t->name, t->name_bytes), seed);
}

static struct topic *topic_find(struct builder *b, struct bytes name)
{
    uint64_t h = hash_bytes(name, b->topics.seed);
    struct topic *t;
    for (size_t pos = h; (t = ptrmap_next(&b->topics, h, &pos)) != NULL;)
        if (bytes_eq(name, bytes_of(t->name, t->name_bytes))) return t;
    t = mem_calloc(1, sizeof *t + name.n);
    if (t == NULL) return NULL;
    if (name.n) memcpy(t->name, name.p, name.n);
    t->name_bytes = (uint32_t)name.n;
    t->last = b->base;
    if (ptrmap_put(&b->topics, t, h) < 0) {
        mem_free(t);
        return NULL;
    }
    t->next = b->first;
    b->first = t;
    return t;
}

static int add_message(struct builder *b, uint64_t position, const struct store_topic *found)
{
    struct topic *t = topic_find(b, found->topic);
    uint8_t *d = t ? buf_reserve(&t->places, VARINT_MAX) : NULL;
    if (d == NULL) return E_NOMEM;
    uint8_t *end = number_put(d, (position - t->last) / FRAME_ALIGN);
    buf_commit(&t->places, (uint32_t)(end - d));
    t->last = position;
    t->count++;
    b->out->described_count++;
    b->out->first_ms = min_u64(b->out->first_ms, found->time_ms);
    b->out->last_ms = max_u64(b->out->last_ms, found->time_ms);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct topic *const *x = a, *const *y = b;
    return bytes_cmp(bytes_of((*x)->name, (*x)->name_bytes),
                     bytes_of((*y)->name, (*y)->name_bytes));
}

static struct topic **sorted_topics(struct builder *b, size_t *bytes)
{
    struct topic **all = mem_alloc(b->topics.count * sizeof(struct topic *));
    size_t n = 0;
    if (all == NULL) return NULL;
    *bytes = 0;
    for (struct topic *t = b->first; t; t = t->next) {
        all[n++] = t;
        *bytes += 3 * VARINT_MAX + t->name_bytes + buf_len(&t->places);
    }
    ASSERT(n == b->topics.count);
    if (n) qsort(all, n, sizeof(struct topic *), by_name);
    return all;
}

static int finish(struct builder *b)
{
    size_t room;
    struct topic **all = sorted_topics(b, &room);
    uint8_t *data = all ? mem_alloc(room) : NULL, *d = data;
    for (size_t i = 0; data && i < b->topics.count; i++) {
        struct bytes places = buf_view(&all[i]->places);
        d = number_put(d, all[i]->name_bytes);
        d = put_mem(d, bytes_of(all[i]->name, all[i]->name_bytes));
        d = number_put(d, all[i]->count);
        d = number_put(d, places.n);
        d = put_mem(d, places);
    }
    mem_free(all);
    if (data == NULL) return E_NOMEM;
    b->out->data = data;
    b->out->size = (size_t)(d - data);
    b->out->topic_count = (uint32_t)b->topics.count;
    return 0;
}

static int read_records(struct builder *b, const struct index_source *source)
{
    struct walk w;
    struct walk_item item = {.kind = WALK_RECORD};
    int rc = 0;
    walk_init(&w, source->files, source->fd, source->salt, source->base, source->from, source->to);
    while (rc == 0 && item.kind != WALK_END && item.kind != WALK_SEALED) {
        struct store_topic found;
        rc = walk_next(&w, &item);
        if (rc < 0 || item.kind != WALK_RECORD || item.frame.kind == STORE_JOURNAL) continue;
        b->out->message_count++;
        if (item.frame.kind == STORE_MESSAGE && source->describe(item.body, &found))
            rc = add_message(b, item.position, &found);
    }
    walk_fini(&w);
    return rc;
}

int index_build(struct index *out, const struct index_source *source)
{
    struct builder b = {.out = out, .base = source->base};
    *out = (struct index){.base = source->base, .first_ms = UINT64_MAX};
    ptrmap_init(&b.topics, topic_hash, source->salt);
    int rc = read_records(&b, source);
    if (rc == 0) rc = finish(&b);
    for (struct topic *t = b.first, *next; t; t = next) {
        next = t->next;
        buf_fini(&t->places);
        mem_free(t);
    }
    ptrmap_fini(&b.topics);
    return rc;
}

void index_fini(struct index *x)
{
    mem_free(x->data);
    x->data = NULL;
    x->size = 0;
}

/* ---- the file ---- */

static void header_write(uint8_t *out, const struct index *x)
{
    memset(out, 0, HEADER_BYTES);
    memcpy(out, index_magic, MAGIC_BYTES);
    le32_put(out + 8, LOG_VERSION);
    le32_put(out + 12, crc32c(0, bytes_of(x->data, x->size)));
    le64_put(out + 16, x->base / FRAME_ALIGN);
    le64_put(out + 24, x->size);
    le64_put(out + 32, x->first_ms);
    le64_put(out + 40, x->last_ms);
    le32_put(out + 48, x->topic_count);
    le32_put(out + 52, x->described_count);
    le32_put(out + 56, x->message_count);
    le32_put(out + CRC_AT, crc32c(0, bytes_of(out, CRC_AT)));
}

/* 0, or E_MALFORMED; *crc: of the topics. */
static int header_read(const uint8_t *p, uint64_t base, struct index *x, uint32_t *crc)
{
    if (memcmp(p, index_magic, MAGIC_BYTES) != 0) return E_MALFORMED;
    if (le32_get(p + CRC_AT) != crc32c(0, bytes_of(p, CRC_AT))) return E_MALFORMED;
    if (le32_get(p + 8) != LOG_VERSION) return E_MALFORMED;
    *crc = le32_get(p + 12);
    *x = (struct index){.base = le64_get(p + 16) * FRAME_ALIGN,
                        .size = le64_get(p + 24),
                        .first_ms = le64_get(p + 32),
                        .last_ms = le64_get(p + 40),
                        .topic_count = le32_get(p + 48),
                        .described_count = le32_get(p + 52),
                        .message_count = le32_get(p + 56)};
    return x->base == base ? 0 : E_MALFORMED;
}

int index_write(const struct file_ops *files, int folder, const struct index *x)
{
    uint8_t header[HEADER_BYTES];
    char name[NAME_BYTES];
    header_write(header, x);
    name_put(name, x->base, "idx");
    int fd = files->open(folder, "idx.tmp", O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0) return E_IO;
    struct iovec v[2] = {{header, sizeof header}, {x->data, x->size}};
    int rc = file_write(files, fd, v, 2, 0);
    (void)files->close(fd);
    if (rc == 0 && files->rename(folder, "idx.tmp", name) < 0) rc = E_IO;
    if (rc < 0) (void)files->unlink(folder, "idx.tmp");
    return rc;
}

static int read_open(const struct file_ops *files, int fd, uint64_t base, struct index *out)
{
    uint8_t header[HEADER_BYTES];
    uint64_t size = 0;
    uint32_t crc;
    bool bad = false;
    if (files->size(fd, &size) < 0) return E_IO;
    file_read(files, fd, header, sizeof header, 0, &bad);
    int rc = header_read(header, base, out, &crc);
    if (rc < 0 || out->size != size - HEADER_BYTES) return E_MALFORMED;
    uint8_t *data = mem_alloc(out->size);
    if (data == NULL) return E_NOMEM;
    file_read(files, fd, data, out->size, HEADER_BYTES, &bad);
    out->data = data;
    if (crc32c(0, bytes_of(data, out->size)) == crc) return 0;
    index_fini(out);
    return E_MALFORMED;
}

int index_read(const struct file_ops *files, int folder, uint64_t base, struct index *out)
{
    char name[NAME_BYTES];
    name_put(name, base, "idx");
    int fd = files->open(folder, name, O_RDONLY);
    if (fd < 0) return errno == ENOENT ? E_NOTFOUND : E_IO;
    int rc = read_open(files, fd, base, out);
    (void)files->close(fd);
    return rc;
}

/* ---- reading it ---- */

bool index_next(const struct index *x, struct index_topic *t)
{
    struct bytes rest = bytes_skip(bytes_of(x->data, x->size), t->next);
    uint64_t n, count, places;
    if (rest.n == 0 || !number_get(&rest, &n) || n > rest.n) return false;
    t->name = bytes_of(rest.p, n);
    rest = bytes_skip(rest, n);
    if (!number_get(&rest, &count) || !number_get(&rest, &places) || places > rest.n) return false;
    t->count = (uint32_t)count;
    t->places = bytes_of(rest.p, places);
    t->next = x->size - rest.n + places;
    return true;
}

bool index_place(struct bytes *places, uint64_t *last)
{
    uint64_t distance;
    if (!number_get(places, &distance)) return false;
    *last += distance * FRAME_ALIGN;
    return true;
}
