/* Copies of the folder of a log, to damage and to put back.  Included after cmocka. */
#ifndef UNIT_STORE_LOG_IMAGE_H
#define UNIT_STORE_LOG_IMAGE_H

#include "tests/unit/store_log_site.h"

enum { IMAGE_FILES = 64 };

static struct image {
    char name[NAME_BYTES];
    uint8_t *data;
    size_t n;
} image[IMAGE_FILES];
static size_t image_count;

static inline void image_add(const char *path)
{
    struct image *i = &image[image_count++];
    struct stat s;
    assert_true(image_count <= IMAGE_FILES);
    int fd = open(path, O_RDONLY);
    assert_int_equal(fstat(fd, &s), 0);
    snprintf(i->name, sizeof i->name, "%s", strrchr(path, '/') + 1);
    i->n = (size_t)s.st_size;
    i->data = malloc(i->n + 1);
    assert_non_null(i->data);
    assert_int_equal(read(fd, i->data, i->n), (ssize_t)i->n);
    close(fd);
}

static inline void image_free(void)
{
    while (image_count > 0) free(image[--image_count].data);
}

static inline void image_take(void)
{
    image_free();
    each_file(image_add);
}

static inline void image_restore(void)
{
    char path[400];
    site_clear();
    for (size_t i = 0; i < image_count; i++) {
        snprintf(path, sizeof path, "%s/%s", site.folder, image[i].name);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
        assert_int_equal(write(fd, image[i].data, image[i].n), (ssize_t)image[i].n);
        close(fd);
    }
}

/* The file in the image that has this position; *offset where in it. */
static inline struct image *image_at(uint64_t seq, size_t *offset)
{
    for (size_t i = 0; i < image_count; i++) {
        uint64_t base, at = seq * FRAME_ALIGN;
        if (!name_get(image[i].name, "seg", &base)) continue;
        if (at < base || at >= base + image[i].n) continue;
        *offset = at - base;
        return &image[i];
    }
    fail_msg("no segment has sequence %llu", (unsigned long long)seq);
    return NULL;
}

static inline struct image *image_named(const char *name)
{
    for (size_t i = 0; i < image_count; i++)
        if (strcmp(image[i].name, name) == 0) return &image[i];
    fail_msg("no file %s", name);
    return NULL;
}

static inline int image_teardown(void **state)
{
    image_free();
    return teardown(state);
}

#endif
