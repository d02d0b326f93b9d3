/* Runs a fuzz target over the files it is given, in a build without libFuzzer: the corpora are
 * replayed as plain tests by any compiler.  Arguments are files and folders.  One thread. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long count;

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size + !size); /* exactly its size, so that an overrun is seen */
    if (f == NULL || data == NULL || fread(data, 1, size, f) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        free(data);
        if (f) fclose(f);
        return 1;
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    count++;
    return 0;
}

static int replay(const char *path, int depth)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) return replay_file(path, (size_t)st.st_size);
    DIR *dir = depth < 4 ? opendir(path) : NULL;
    if (dir == NULL) {
        perror(path);
        return 1;
    }
    int failed = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char child[4096];
        if (e->d_name[0] == '.') continue;
        int n = snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        failed |= n < (int)sizeof child ? replay(child, depth + 1) : 1;
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) failed |= replay(argv[i], 0);
    printf("%lu inputs\n", count);
    return failed || count == 0;
}
