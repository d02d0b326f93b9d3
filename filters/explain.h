/* What a filter was compiled to, in words: for `sluicectl filter explain`.  One thread. */
#ifndef FILTERS_EXPLAIN_H
#define FILTERS_EXPLAIN_H

#include "base/buf.h"
#include "filters/filter.h"

/* Three parts of lines each, for people:
 *
 *   form  the questions asked of a message, in their order
 *   by    what a message is looked up by that may match; "nothing" if it is asked of each
 *   cost  how many that are
 *
 * E_NOMEM. */
MUST_USE int filter_explain(struct filter_store *store, const struct filter_expr *expr,
                            struct buf *out);

#endif
