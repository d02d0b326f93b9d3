/* Where the store lies, and to whom it belongs: the anchor, a small file under the name that
 * mosquitto's database would have, and beside it the folder of the same name with ".d" behind it.
 *
 *   persistence_location/mosquitto.db                         the anchor
 *   persistence_location/mosquitto.db.d/id                    its id: 16 digits and a newline
 *   persistence_location/mosquitto.db.d/...                   the log (store/log.h)
 *   persistence_location/mosquitto.db.d.old-20251125T021533Z  set aside, never read again
 *
 * The anchor is text:
 *
 *   sluice anchor 1           the format's version
 *   id 0123456789abcdef       of the store, for ever
 *   stands-for mosquitto.db   empty, unless it is sluice.db in place of that file
 *   ...                       two fixed lines for people
 *   sum 0123456789abcdef      XXH3 of all above; whatever else differs is damage as well
 *
 * Whoever deletes the anchor, as one would delete mosquitto's database, begins with an empty store.
 * Nothing is ever deleted here, and no file is overwritten that is not ours.  Main thread, or a
 * tool. */
#ifndef SRC_ANCHOR_H
#define SRC_ANCHOR_H

#include "conf.h"
#include "log.h"

enum {
    ANCHOR_PATH_BYTES = 4096, /* with the final 0; the kernel takes no longer path either */
    ANCHOR_NAME_BYTES = 256,
};

struct anchor {
    char file[ANCHOR_PATH_BYTES];   /* the anchor */
    char folder[ANCHOR_PATH_BYTES]; /* the log's folder, which exists */
    uint64_t id;                    /* random; of the store, for ever */
    bool fresh;                     /* the store is empty: there was none, or it was set aside */
};

/* Finds the store that conf (with persistence) means, makes an empty one when there is none, and
 * sets aside what does not belong to the anchor.  To be called as the user that writes the store.
 * E_IO: that cannot be; one line of LOG_T_ERROR says what and why, and what is there has not been
 * changed, except that a store without its anchor may already have been set aside. */
MUST_USE int anchor_open(struct anchor *out, const struct conf *conf, struct log *log);

/* ---- for tools: looking only ---- */

enum anchor_state {
    ANCHOR_NONE,      /* there is nothing */
    ANCHOR_OURS,      /* whole */
    ANCHOR_MOSQUITTO, /* a database of mosquitto's */
    ANCHOR_FOREIGN,   /* something else, an empty file too */
    ANCHOR_DAMAGED,   /* it began as one of ours */
    ANCHOR_LATER,     /* of a later version */
};

struct anchor_found {
    enum anchor_state state;
    uint64_t id;                        /* of OURS */
    char stands_for[ANCHOR_NAME_BYTES]; /* the file that was not ours and has this name; or "" */
};

/* E_IO: errno says why it cannot be read. */
MUST_USE int anchor_look(const char *path, struct anchor_found *out);

/* The id that a folder carries.  E_NOTFOUND: none; E_MALFORMED: damaged; E_IO: errno says why. */
MUST_USE int anchor_folder_id(const char *folder, uint64_t *id);

/* Whether a broker has the log in this folder open: it holds the lock that store_log_open() takes.
 */
bool anchor_folder_used(const char *folder);

#endif
