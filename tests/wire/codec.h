/* Packets as lists of fields: decoding what the broker sent, encoding what a client says, and
 * comparing.  The field names are those of README.md. */
#ifndef TESTS_WIRE_CODEC_H
#define TESTS_WIRE_CODEC_H

#include "mqtt/packet.h"
#include "tests/wire/text.h"

struct packet {
    unsigned type; /* enum mqtt_type */
    struct fields fields;
    struct bytes raw;
    const char *error; /* not a valid packet: why */
};

/* ---- properties ---- */

/* "message-expiry" and the like; 0 when there is none of this name. */
unsigned prop_id(struct bytes name);
/* Adds what a block holds to out. */
void props_decode(struct arena *a, struct bytes block, struct fields *out);
/* The block of all properties among f whose names start with prefix ("" or "will.").  NULL, or what
 * is wrong. */
const char *props_encode(struct arena *a, const struct fields *f, const char *prefix,
                         struct bytes *out);

/* ---- packets ---- */

unsigned packet_type(struct bytes name); /* "publish"; 0: no packet */
/* raw: one whole packet from the broker. */
void packet_decode(struct arena *a, unsigned version, struct bytes raw, struct packet *out);
void packet_print(struct text *out, unsigned type, const struct fields *f);

/* Words as written to named fields with their defaults.  NULL, or what is wrong. */
const char *packet_fields(struct arena *a, unsigned type, const struct fields *words,
                          struct fields *out);
/* f: from packet_fields().  NULL, or what is wrong. */
const char *packet_encode(struct arena *a, unsigned version, unsigned type, const struct fields *f,
                          struct bytes *out);
/* Whether p is what was expected; if not, *why says in what it differs.  Variables that are seen
 * for the first time are added to vars. */
bool packet_matches(struct arena *a, unsigned type, const struct fields *expected,
                    const struct packet *p, struct fields *vars, const char **why);

#endif
