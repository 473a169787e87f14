#!/usr/bin/env python3
"""Reads and checks the schema files; makes messages.h and messages.c of them.

    schemas/gen.py --out FOLDER schemas     writes both files (at build time; they are never committed)
    schemas/gen.py --check schemas          only validates

A schema file is JSON Schema 2020-12 in a narrow dialect: what this program does not know it refuses, so that a slip
of the pen never becomes a message. gen_c.py writes the C.
"""

import argparse
import json
import pathlib
import re
import sys

sys.dont_write_bytecode = True  # the source tree stays clean

import gen_c  # noqa: E402

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
MONEY_MAX = 10**15  # as in bus/base/money.h
DECIMALS = 4  # of x-decimal: MONEY_MAX_DECIMALS of bus/base/money.h
FIELDS_MAX = 64  # the codec keeps one bit per field
MONEY_FIELDS_MAX = 16  # MONEY_FIELDS of bus/codec.c
DEFAULT_LENGTH, DEFAULT_ITEMS = 10000, 1000

C_KEYWORDS = set(
    """alignas alignof asm auto bool break case char const constexpr continue default do double else enum extern
    false float for goto if inline int long nullptr register restrict return short signed sizeof static
    static_assert struct switch thread_local true typedef typeof union unix linux unsigned void volatile while
    """.split())
FORMATS = {"email": "EMAIL", "date": "DATE", "date-time": "DATE_TIME", "slug": "SLUG", "currency": "CURRENCY",
           "uri": "URI"}
# Who carries such a name must say whether it is personal (x-personal true or false, or x-secret).
PERSONAL_NAMES = {"email", "phone", "password", "address", "shipping_address", "billing_address", "payment_token",
                  "recipient", "rut", "birth_date", "first_name", "last_name"}

ROOT_KEYS = {"$schema", "$id", "title", "description", "x-topic", "x-key", "x-from", "type", "additionalProperties",
             "required", "properties"}
MARKS = {"title", "description", "x-personal", "x-internal", "x-secret"}
KEYS = {
    "string": {"type", "format", "minLength", "maxLength", "enum"},
    "integer": {"type", "minimum", "maximum"},
    "boolean": {"type"},
    "object": {"type", "required", "properties", "additionalProperties"},
    "array": {"type", "items", "minItems", "maxItems"},
    "money": {"x-money", "minimum", "maximum"},
    "decimal": {"x-decimal", "minimum", "maximum"},
    "raw": {"x-raw", "maxLength"},
}


class SchemaError(Exception):
    """A sentence about what is wrong, with the place in the file."""


def need(condition, where, sentence):
    if not condition:
        raise SchemaError(f"{where}: {sentence}")


class Field:
    """One member of an object: what the codec has to know about it."""

    def __init__(self, where, name):
        self.where, self.name = where, name
        self.c_name = name + "_" if name in C_KEYWORDS else name
        self.kind = self.format = None
        self.flags, self.min, self.max = [], 0, 0
        self.values, self.shape, self.item, self.currency = None, None, None, None

    @property
    def required(self):
        return "REQUIRED" in self.flags

    @property
    def as_text(self):
        return "PERSONAL" in self.flags or self.kind in ("STRING", "RAW")

    @property
    def has(self):
        """The member that tells presence or number; None when the value itself does."""
        if self.as_text:
            return None
        if self.kind == "LIST":
            return self.c_name + "_n"
        return None if self.required else "has_" + self.c_name


class Shape:
    """One C struct: a message, or an object inside one."""

    def __init__(self, c_name, where):
        self.c_name, self.where, self.fields = c_name, where, []


class Message:
    def __init__(self, path, command):
        self.path, self.command = path, command
        match = re.fullmatch(r"([a-z][a-z0-9]*\.[a-z][a-z0-9]*(?:-[a-z0-9]+)*)\.v([1-9][0-9]?)\.json", path.name)
        need(match, path, "a file is named aggregate.verb-words.vN.json")
        self.base, self.major = match[1], int(match[2])
        self.name = f"{self.base}.v{self.major}"
        self.c_name = re.sub(r"[.-]", "_", self.base) + (f"_v{self.major}" if self.major > 1 else "")
        self.shapes = []  # inner ones first, the message's own last


def bounds(node, where, low_key, high_key, low, high):
    """Minimum and maximum under their keys, checked: integers, within low..high, in order."""
    pair = node.get(low_key, low), node.get(high_key, high)
    need(all(type(v) is int for v in pair), where, f"{low_key} and {high_key} are integers")
    need(low <= pair[0] <= pair[1], where, f"{low_key} is above {high_key}, or out of range")
    limit = MONEY_MAX if node.keys() & {"x-money", "x-decimal"} else INT64_MAX
    need(pair[1] <= limit, where, f"{high_key} is too large")
    return pair


def kind_of(node, where):
    """The row of KEYS that describes this node."""
    marks = [k for k in ("type", "x-money", "x-decimal", "x-raw") if k in node]
    need(len(marks) == 1, where, "needs exactly one of type, x-money, x-decimal, x-raw")
    kind = node["type"] if marks[0] == "type" else marks[0][2:]
    need(isinstance(kind, str) and kind in KEYS, where, f"unknown type {kind!r}")
    unknown = set(node) - KEYS[kind] - MARKS
    need(not unknown, where, f"unknown keywords {', '.join(sorted(unknown))} for {kind}")
    return kind


def read_string(field, node):
    where, name = field.where, node.get("format")
    if name == "uuid":
        need(not node.keys() & {"enum", "minLength", "maxLength"}, where, "a uuid has no further limits")
        field.kind = "UUID"
        return
    need(name is None or name in FORMATS, where, f"unknown format {name!r}")
    field.kind, field.format = "STRING", FORMATS.get(name)
    field.min, field.max = bounds(node, where, "minLength", "maxLength", 0, DEFAULT_LENGTH)
    if "enum" in node:
        values = node["enum"]
        need(isinstance(values, list) and values and all(isinstance(v, str) and v for v in values)
             and len(set(values)) == len(values), where, "enum is a list of different strings")
        field.values = values


def read_array(message, field, node, c_name):
    field.kind = "LIST"
    field.min, field.max = bounds(node, field.where, "minItems", "maxItems", 0, DEFAULT_ITEMS)
    need(isinstance(node.get("items"), dict), field.where, "items must be one schema")
    item = read_field(message, field.where + ".items", "", node["items"], c_name)
    need(item.kind in ("STRING", "UUID", "INT", "BOOL", "OBJECT"), item.where,
         "items are strings, uuids, integers, booleans or objects")
    need(not item.flags, item.where, "marks belong on the list, not on its items")
    item.flags = ["REQUIRED"]
    field.item = item


def read_field(message, where, name, node, c_name):
    """One property; c_name is the struct an object in it becomes."""
    need(isinstance(node, dict), where, "must be an object")
    field = Field(where, name)
    kind = kind_of(node, where)
    for mark in ("personal", "internal", "secret"):
        need(isinstance(node.get("x-" + mark, False), bool), where, f"x-{mark} is true or false")
        if node.get("x-" + mark):
            field.flags.append(mark.upper())
    need(name not in PERSONAL_NAMES or node.keys() & {"x-personal", "x-secret"}, where,
         "looks personal: say x-personal true or false")
    need("SECRET" not in field.flags or message.command, where, "an event carries no secret")
    if kind == "string":
        read_string(field, node)
    elif kind == "integer":
        field.kind = "INT"
        field.min, field.max = bounds(node, where, "minimum", "maximum", INT64_MIN, INT64_MAX)
    elif kind == "boolean":
        field.kind = "BOOL"
    elif kind in ("money", "decimal"):
        need(kind == "money" or node["x-decimal"] == DECIMALS, where, f"x-decimal is {DECIMALS}")
        field.kind, field.currency = "MONEY", node.get("x-money")
        field.min, field.max = bounds({"minimum": 0, "maximum": MONEY_MAX, **node}, where, "minimum", "maximum",
                                      -MONEY_MAX, MONEY_MAX)
    elif kind == "raw":
        need(node["x-raw"] is True, where, "x-raw is true or not there")
        field.kind = "RAW"
        field.max = bounds(node, where, "minLength", "maxLength", 0, DEFAULT_LENGTH)[1]
    elif kind == "array":
        read_array(message, field, node, c_name)
    else:
        field.kind, field.shape = "OBJECT", read_object(message, where, node, c_name)
    return field


def read_object(message, where, node, c_name):
    """An object's properties, in the order of the file; its struct is appended to the message's shapes."""
    need(node.get("additionalProperties", False) is False, where, "additionalProperties is always false")
    properties, required = node.get("properties"), node.get("required", [])
    need(isinstance(properties, dict) and properties, where, "needs properties")
    need(len(properties) <= FIELDS_MAX, where, f"has more than {FIELDS_MAX} properties")
    need(isinstance(required, list) and len(set(map(str, required))) == len(required), where,
         "required is a list of different names")
    for name in required:
        need(name in properties, where, f"requires unknown property {name!r}")
    shape = Shape(c_name, where)
    for name, child in properties.items():
        at = f"{where}.{name}"
        need(re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name), at, "a name is lower case letters, digits, _")
        field = read_field(message, at, name, child, f"{c_name}_{name}")
        if name in required:
            field.flags.insert(0, "REQUIRED")
        shape.fields.append(field)
    check_members(shape, where)
    message.shapes.append(shape)
    return shape


def check_members(shape, where):
    """C names differ, money has its currency beside it, personal values stand alone."""
    members = [m for f in shape.fields for m in (f.c_name, f.has) if m]
    need(len(set(members)) == len(members), where, "two members would share a C name (x_n, has_x)")
    money = [f for f in shape.fields if f.kind == "MONEY"]
    need(len(money) <= MONEY_FIELDS_MAX, where, f"has more than {MONEY_FIELDS_MAX} amounts of money")
    for field in money:
        if field.currency is None:
            continue
        beside = [f for f in shape.fields if f.name == field.currency]
        need(beside and beside[0].format == "CURRENCY", field.where,
             f"x-money names {field.currency!r}: no field of format currency beside it")
        need("PERSONAL" not in field.flags + beside[0].flags, field.where, "money is not personal")
        field.currency = beside[0]
    for field in shape.fields:
        if "PERSONAL" in field.flags:
            inner = field.shape or (field.item and field.item.shape)
            need(not inner or all(plain(f) for f in inner.fields), field.where,
                 "what is inside a personal value has no marks and no money")


def plain(field):
    inner = field.shape or (field.item and field.item.shape)
    return field.kind != "MONEY" and not set(field.flags) - {"REQUIRED"} and (
        not inner or all(plain(f) for f in inner.fields))


def read_json(path):
    def no_duplicates(pairs):
        need(len(dict(pairs)) == len(pairs), path, "a member stands twice in one object")
        return dict(pairs)
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=no_duplicates)
    except (OSError, ValueError) as e:
        raise SchemaError(f"{path}: {e}") from e


def read_message(path, command, topics):
    root, message = read_json(path), Message(path, command)
    need(isinstance(root, dict), path, "must be an object")
    unknown = set(root) - ROOT_KEYS
    need(not unknown, path, f"unknown keywords {', '.join(sorted(unknown))}")
    need(root.get("$schema") == "https://json-schema.org/draft/2020-12/schema", path, "$schema is 2020-12")
    need(re.fullmatch(re.escape(f"{message.base}/{message.major}.") + r"(0|[1-9][0-9]*)", str(root.get("$id"))),
         path, f"$id must be {message.base}/{message.major}.MINOR")
    need(isinstance(root.get("title"), str) and root["title"], path, "needs a title")
    need(root.get("type") == "object" and root.get("additionalProperties") is False, path,
         "must be an object with additionalProperties false")
    need(root.get("x-topic") in topics, path, f"x-topic {root.get('x-topic')!r} is not in topics.json")
    emitters = root.get("x-from")
    need(isinstance(emitters, list) and emitters
         and all(isinstance(e, str) and re.fullmatch(r"[a-z][a-z-]*", e) for e in emitters), path,
         "x-from lists the emitters")
    message.title = root["title"]
    message.schema, message.topic, message.emitters = root["$id"], topics[root["x-topic"]], emitters
    shape = read_object(message, str(path), root, message.c_name)
    message.key = root.get("x-key")
    if message.key == "self":
        need(command, path, "only commands that create their aggregate have x-key self")
    else:
        field = next((f for f in shape.fields if f.name == message.key), None)
        need(field and field.required and field.kind in ("UUID", "STRING") and "PERSONAL" not in field.flags, path,
             f"x-key {message.key!r} must be a required, not personal, string of the data, or self")
    return message


def read_topics(path):
    rows = read_json(path)
    need(isinstance(rows, list) and rows, path, "must be a list")
    for row in rows:
        need(isinstance(row, dict) and set(row) == {"number", "name", "key", "group"}, path,
             "a topic has number, name, key, group")
        need(type(row["number"]) is int and 1 <= row["number"] <= 31, path, "a number is 1 to 31")
        need(re.fullmatch(r"[a-z]+", row["name"]), path, f"topic name {row['name']!r}")
    for column in ("number", "name"):
        need(len({row[column] for row in rows}) == len(rows), path, f"a {column} stands twice")
    return {row["name"]: row for row in sorted(rows, key=lambda row: row["number"])}


def read_all(folder):
    """Topics by name and messages in the order of their names; all complaints of all files at once."""
    topics = read_topics(folder / "topics.json")
    messages, complaints, taken = [], [], {}
    for sub in ("commands", "events"):
        for path in sorted((folder / sub).glob("*")):
            try:
                message = read_message(path, sub == "commands", topics)
                for shape in message.shapes:
                    other = taken.setdefault(shape.c_name, path)
                    need(other is path and [s.c_name for s in message.shapes].count(shape.c_name) == 1, shape.where,
                         f"struct {shape.c_name} is already made by {other}")
                messages.append(message)
            except SchemaError as e:
                complaints.append(str(e))
    if complaints:
        raise SchemaError("\n".join(complaints))
    link_majors(messages)
    return topics, sorted(messages, key=lambda m: m.name)


def link_majors(messages):
    """Each message knows the major after it (next) and the newest of its type; v1, v2 … stand without a gap."""
    families = {}
    for message in sorted(messages, key=lambda m: m.major):
        families.setdefault(message.base, []).append(message)
    for family in families.values():
        for place, message in enumerate(family):
            need(message.major == place + 1, message.path, f"v{place + 1} is missing: majors have no gaps")
            need((message.command, message.topic, message.key)
                 == (family[0].command, family[0].topic, family[0].key), message.path,
                 "a new major stays a command or event, in the topic and under the key of v1: order per key goes on")
            message.next = family[place + 1] if message.major < len(family) else None
            message.previous = family[place - 1] if place else None
            message.newest = family[-1]


def write_if_changed(path, text):
    """An unchanged file keeps its time, so that nothing is compiled again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=pathlib.Path, help="folder that gets messages.h and messages.c")
    what.add_argument("--check", action="store_true", help="only validate")
    parser.add_argument("schemas", type=pathlib.Path)
    options = parser.parse_args()
    try:
        topics, messages = read_all(options.schemas)
    except SchemaError as e:
        sys.exit(f"gen.py: {e}".replace("\n", "\ngen.py: "))
    if options.out:
        write_if_changed(options.out / "messages.h", gen_c.header(topics, messages))
        write_if_changed(options.out / "messages.c", gen_c.source(topics, messages))


if __name__ == "__main__":
    main()
