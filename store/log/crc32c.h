/* CRC32C (Castagnoli), by the processor where it has the instruction.  Any thread. */
#ifndef STORE_LOG_CRC32C_H
#define STORE_LOG_CRC32C_H

#include "base/bytes.h"

/* Continues crc over b.  The first of a chain may begin with any value; 0 gives the usual CRC. */
uint32_t crc32c(uint32_t crc, struct bytes b);

/* The same without the instruction, so that a test can compare the two. */
uint32_t crc32c_by_table(uint32_t crc, struct bytes b);

#endif
