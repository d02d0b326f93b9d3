/* Properties that tell the broker what to do, see control.h. */
#include "core/control.h"

#include "base/err.h"

static bool is_control(const struct mqtt_prop *prop)
{
    static const char *const names[] = {"sluice-priority", "sluice-key", "sluice-dedup-id",
                                        "sluice-delay"};
    if (prop->id != MQTT_P_USER || !bytes_starts(prop->key, "sluice-")) return false;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_eq(prop->key, bytes_str(names[i]))) return true;
    return false;
}

void control_split(struct bytes *props, struct bytes *control, uint8_t *room)
{
    struct mqtt_prop prop;
    size_t found = 0;
    for (size_t at = 0, from = 0; mqtt_props_next(*props, &at, &prop); from = at)
        if (is_control(&prop)) found += at - from;
    *control = (struct bytes){0};
    if (found == 0) return;
    uint8_t *rest = room, *d = room + (props->n - found);
    for (size_t at = 0, from = 0; mqtt_props_next(*props, &at, &prop); from = at) {
        struct bytes one = bytes_of(props->p + from, at - from);
        if (is_control(&prop))
            d = put_mem(d, one);
        else
            rest = put_mem(rest, one);
    }
    *props = bytes_of(room, (size_t)(rest - room));
    *control = bytes_of(rest, found);
}

struct bytes control_find(struct bytes props, const char *name)
{
    struct mqtt_prop prop;
    for (size_t at = 0; mqtt_props_next(props, &at, &prop);)
        if (prop.id == MQTT_P_USER && bytes_eq(prop.key, bytes_str(name)))
            return prop.value.p ? prop.value : bytes_str("");
    return (struct bytes){0};
}

int control_number(struct bytes text, uint64_t *out)
{
    uint64_t v = 0;
    if (text.n == 0 || text.n > 18) return E_INVALID;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return E_INVALID;
        v = v * 10 + (text.p[i] - '0');
    }
    *out = v;
    return 0;
}

int control_seconds(struct bytes text, uint64_t *ms)
{
    enum { DECIMALS = 3 };
    const uint64_t most = UINT64_C(100) * 366 * 86400;
    const uint8_t *dot = text.n ? memchr(text.p, '.', text.n) : NULL;
    size_t whole = dot ? (size_t)(dot - text.p) : text.n;
    uint64_t seconds, part = 0;
    if (control_number(bytes_of(text.p, whole), &seconds) < 0 || seconds > most) return E_INVALID;
    struct bytes rest = dot ? bytes_skip(text, whole + 1) : (struct bytes){0};
    if (dot && (rest.n > DECIMALS || control_number(rest, &part) < 0)) return E_INVALID;
    for (size_t i = rest.n; i < DECIMALS; i++) part *= 10;
    *ms = seconds * 1000 + part;
    return 0;
}

int control_duration(struct bytes text, uint64_t *ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const uint64_t most = UINT64_C(100) * 366 * 86400000;
    size_t digits = 0;
    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9') digits++;
    struct bytes unit = bytes_skip(text, digits);
    if (unit.n == 0 || unit.p[0] == '.') return control_seconds(text, ms);
    uint64_t v;
    if (control_number(bytes_of(text.p, digits), &v) < 0) return E_INVALID;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (!bytes_eq(unit, bytes_str(units[i].name))) continue;
        if (v > most / units[i].ms) return E_INVALID;
        *ms = v * units[i].ms;
        return 0;
    }
    return E_INVALID;
}

/* "7", "-3", "12": what is beyond the ends is the end. */
static uint8_t priority_of(struct bytes text)
{
    uint64_t v;
    if (text.n > 1 && text.p[0] == '-' && control_number(bytes_skip(text, 1), &v) == 0) return 0;
    if (control_number(text, &v) < 0) return CONTROL_PRIORITY_DEFAULT;
    return (uint8_t)min_u64(v, CONTROL_PRIORITY_MAX);
}

void control_read(struct bytes control, struct control *out)
{
    *out = (struct control){.priority = CONTROL_PRIORITY_DEFAULT};
    if (control.n == 0) return;
    struct bytes priority = control_find(control, "sluice-priority");
    if (priority.n) out->priority = priority_of(priority);
    out->key = control_find(control, "sluice-key");
    out->dedup_id = control_find(control, "sluice-dedup-id");
    out->delay = control_find(control, "sluice-delay");
}
