"""How messages.h and messages.c look: structs, field tables, topics and handler slots as C text.

gen.py has read and checked the schemas; here every value is known to be good. One interpreter, bus/codec.c, reads
the tables.
"""

import json

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
MONEY_MAX = 10**15
C_TYPES = {"STRING": "struct str", "RAW": "struct str", "UUID": "struct uuid", "INT": "int64_t", "MONEY": "int64_t",
           "BOOL": "bool"}


def member(field):
    """The lines of a field in its struct."""
    if field.as_text:
        return [f"struct str {field.c_name};"]
    if field.kind == "LIST":
        inner = field.item.shape
        c_type = f"struct {inner.c_name}" if inner else C_TYPES[field.item.kind]
        return [f"const {c_type} *{field.c_name};", f"size_t {field.c_name}_n;"]
    c_type = f"struct {field.shape.c_name}" if field.kind == "OBJECT" else C_TYPES[field.kind]
    return ([f"bool has_{field.c_name};"] if field.has else []) + [f"{c_type} {field.c_name};"]


def struct(shape):
    lines = [f"    {line}" for field in shape.fields for line in member(field)]
    return "\n".join([f"struct {shape.c_name} {{", *lines, "};", f"extern const struct shape shape_{shape.c_name};"])


def number(value):
    named = {INT64_MIN: "INT64_MIN", INT64_MAX: "INT64_MAX", MONEY_MAX: "MONEY_MAX", -MONEY_MAX: "-MONEY_MAX"}
    return named.get(value, str(value) if abs(value) < 2**31 else f"INT64_C({value})")


def row(shape, field, extra):
    """One designated initialiser of a field table."""
    flags = " | ".join("FIELD_" + f for f in field.flags) or "0"
    name = f"offsetof(struct {shape.c_name}, " if field.name else None
    parts = [f'.name = "{field.name}"', f".kind = FIELD_{field.kind}", f".flags = {flags}"]
    if field.format:
        parts.append(f".format = FORMAT_{field.format}")
    if name:
        parts.append(f".offset = {name}{field.c_name})")
    parts.append(f".has_offset = {name + field.has + ')' if name and field.has else 'SIZE_MAX'}")
    if field.kind not in ("BOOL", "UUID", "OBJECT"):
        parts += [f".min = {number(field.min)}", f".max = {number(field.max)}"]
    return "{" + ", ".join(parts + extra) + "}"


def table(shape):
    """The tables of one struct: enum values and list items first, then the fields, then the shape."""
    out, rows, index = [], [], {f.name: i for i, f in enumerate(shape.fields)}

    def extras(field, label):
        extra = []
        if field.values:
            values = "".join(f"{json.dumps(v)}, " for v in field.values)
            out.append(f"static const char *const values_{label}[] = {{{values}NULL}};")
            extra.append(f".values = values_{label}")
        if field.shape:
            extra.append(f".shape = &shape_{field.shape.c_name}")
        return extra

    for field in shape.fields:
        label = f"{shape.c_name}_{field.name}"
        extra = extras(field, label)
        if field.item:
            item = row(shape, field.item, extras(field.item, label + "_item"))
            out.append(f"static const struct field item_{label} = {item};")
            extra.append(f".item = &item_{label}")
        if field.currency:
            extra.append(f".currency = &fields_{shape.c_name}[{index[field.currency.name]}]")
        rows.append(f"    {row(shape, field, extra)},")
    return "\n".join([*out, f"static const struct field fields_{shape.c_name}[] = {{", *rows, "};",
                      f'const struct shape shape_{shape.c_name} = {{"{shape.c_name}", '
                      f"sizeof(struct {shape.c_name}), fields_{shape.c_name}, {len(shape.fields)}}};", ""])


SLOT = """    struct {{
        void (*load)(struct batch *, const struct {0} *);
        enum answer (*handle)(struct batch *, const struct {0} *);
    }} {0};"""
EMIT = """static inline void emit_{0}(struct batch *b, struct str key, const struct {0} *e)
{{
    batch_emit(b, {1}, key, e);
}}"""
MAJOR = """void lift_{new}(const struct {old} *from, struct {new} *to, struct arena *arena);
void lower_{new}(const struct {new} *from, struct {old} *to, struct arena *arena);"""
MAJOR_ANY = """static void lift_any_{new}(const void *from, void *to, struct arena *arena)
{{
    lift_{new}(from, to, arena);
}}

static void lower_any_{new}(const void *from, void *to, struct arena *arena)
{{
    lower_{new}(from, to, arena);
}}

"""
HEADER = """/* Made by schemas/gen.py from schemas/; do not edit. Topics, messages, their structs, handler slots. */
#pragma once

#include "bus/answer.h"
#include "bus/codec.h"

enum topic {{
    TOPIC_NONE,
{topics}
    TOPIC_COUNT
}};

struct topic_type {{
    const char *name;  /* NULL: the number is free */
    const char *key;   /* what its partition key is */
    const char *group; /* the one group that handles its commands */
}};
extern const struct topic_type topics[TOPIC_COUNT];

/* Sorted by name. */
enum message {{
    MESSAGE_NONE,
{messages}
    MESSAGE_COUNT
}};

struct message_type {{
    const char *name;   /* "cart.add-item.v1" */
    const char *schema; /* "cart.add-item/1.0" */
    const char *title;  /* what it says or asks for, in a few words */
    bool command;
    enum topic topic;
    const char *key;      /* the field that is the partition key, or "self": the command's own id */
    const char *emitters; /* separated by spaces */
    const struct shape *shape;
    int major;
    enum message newest;   /* the newest major of this type in this build; itself when it is that */
    enum message next;     /* the major after this one; MESSAGE_NONE: this is the newest */
    enum message previous; /* the major before; MESSAGE_NONE: this is v1 */
    /* From this major to the next, and from this one to the one before; NULL where there is none. *to is zeroed;
     * what it refers to is in from or arena. */
    void (*lift)(const void *from, void *to, struct arena *arena);
    void (*lower)(const void *from, void *to, struct arena *arena);
}};
extern const struct message_type message_types[MESSAGE_COUNT];

/* MESSAGE_NONE when unknown. */
enum message message_find(struct str name);

{structs}

/* Between majors: written by hand in bus/majors/, one file per type; who declares a major and writes none does not
 * link. Pure functions that take every message their schema allows. */
{majors}

/* What a group does with each message: load (may be NULL) names the rows it needs, handle decides. A slot without
 * handle is not subscribed. Only the newest major of a type has a slot: older ones are lifted before. */
struct handlers {{
{slots}
}};

/* An older major is handled when the newest is. */
bool handlers_has(const struct handlers *handlers, enum message message);
/* data is the struct of the message, which is the newest of its type and one that handlers_has. */
void handlers_load(const struct handlers *handlers, enum message message, struct batch *batch, const void *data);
enum answer handlers_handle(const struct handlers *handlers, enum message message, struct batch *batch,
                            const void *data);

/* Defined by whoever runs handlers: adds an event of that type to the batch. data is encoded at once. */
void batch_emit(struct batch *batch, enum message message, struct str key, const void *data);

{emits}
"""
SOURCE = """/* Made by schemas/gen.py from schemas/; do not edit. */
#include "messages.h"

#include "bus/base/money.h"

const struct topic_type topics[TOPIC_COUNT] = {{
{topics}
}};

{tables}
{majors}const struct message_type message_types[MESSAGE_COUNT] = {{
{types}
}};

enum message message_find(struct str name)
{{
    int low = 1, high = MESSAGE_COUNT - 1;
    while (low <= high) {{
        int middle = (low + high) / 2;
        int order = str_cmp(name, str_of(message_types[middle].name));
        if (order == 0)
            return (enum message)middle;
        if (order < 0)
            high = middle - 1;
        else
            low = middle + 1;
    }}
    return MESSAGE_NONE;
}}

bool handlers_has(const struct handlers *handlers, enum message message)
{{
    switch (message_types[message].newest) {{
{has}
    default:
        return false;
    }}
}}

void handlers_load(const struct handlers *handlers, enum message message, struct batch *batch, const void *data)
{{
    switch (message) {{
{load}
    default:
        break;
    }}
}}

enum answer handlers_handle(const struct handlers *handlers, enum message message, struct batch *batch,
                            const void *data)
{{
    switch (message) {{
{handle}
    default:
        return ANSWER_POISON;
    }}
}}
"""


def each(messages, template):
    return "\n".join(template.format(m.c_name, m.c_name.upper()) for m in messages)


def majors(messages, template, separator):
    return separator.join(template.format(old=m.previous.c_name, new=m.c_name) for m in messages if m.previous)


def type_row(m):
    def constant(other):
        return other.c_name.upper() if other else "MESSAGE_NONE"
    lift = f"lift_any_{m.next.c_name}" if m.next else "NULL"
    lower = f"lower_any_{m.c_name}" if m.previous else "NULL"
    return (f'    [{m.c_name.upper()}] = {{"{m.name}", "{m.schema}", {json.dumps(m.title)}, {str(m.command).lower()}, '
            f'TOPIC_{m.topic["name"].upper()}, "{m.key}", "{" ".join(m.emitters)}", &shape_{m.c_name}, {m.major}, '
            f"{constant(m.newest)}, {constant(m.next)}, {constant(m.previous)}, {lift}, {lower}}},")


def header(topics, messages):
    newest = [m for m in messages if not m.next]
    return HEADER.format(
        topics="\n".join(f"    TOPIC_{t['name'].upper()} = {t['number']}," for t in topics.values()),
        messages=each(messages, "    {1},"),
        structs="\n\n".join(struct(s) for m in messages for s in m.shapes),
        majors=majors(messages, MAJOR, "\n"),
        slots=each(newest, SLOT),
        emits=each([m for m in newest if not m.command], EMIT))


def source(topics, messages):
    case = "    case {1}:\n        "
    newest = [m for m in messages if not m.next]
    return SOURCE.format(
        topics="\n".join(f'    [TOPIC_{t["name"].upper()}] = {{"{t["name"]}", "{t["key"]}", "{t["group"]}"}},'
                         for t in topics.values()),
        tables="\n".join(table(s) for m in messages for s in m.shapes),
        majors=majors(messages, MAJOR_ANY, ""),
        types="\n".join(type_row(m) for m in messages),
        has=each(newest, case + "return handlers->{0}.handle != NULL;"),
        load=each(newest, case + "if (handlers->{0}.load)\n            handlers->{0}.load(batch, data);\n"
                                 "        break;"),
        handle=each(newest, case + "return handlers->{0}.handle(batch, data);"))
