#!/usr/bin/env python3
"""Describes the messages of the shop, from the schemas and the groups' own tables, to people and to programs.

    schemas/describe.py messages                  docs/messages.md: one table per topic
    schemas/describe.py asyncapi                  schemas/asyncapi.yaml: AsyncAPI 3.0
    schemas/describe.py messages --check FILE     compares: is FILE what would be written?
    schemas/describe.py --c FOLDER                described.c: what the front door serves (asyncapi.py, catalogue.py)
"""

import json
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the source tree stays clean

ROOT = Path(__file__).resolve().parent.parent
GROUP = re.compile(r"^const struct group (\w+)_group = \{")
SLOT = re.compile(r"^\s*\.(\w+) = \{")


class Message:
    """One version of a command or event, and who has to do with it."""

    def __init__(self, name, kind, schema, groups, read_as):
        self.name, self.kind, self.schema = name, kind, schema
        self.readers, self.read_as = groups, read_as  # read_as: the newer major it is lifted to, None: none
        self.title, self.topic, self.key = schema["title"], schema["x-topic"], schema["x-key"]
        self.emitters = schema["x-from"]
        self.required = set(schema.get("required", []))

    @property
    def read_by(self):
        return (", ".join(self.readers) or "–") + (f" (as v{self.read_as})" if self.read_as else "")

    @property
    def fields(self):
        return self.schema["properties"].items()


class Shop:
    """All topics, each with its messages: commands first, then by name."""

    def __init__(self):
        slots = handlers()
        self.topics = json.loads((ROOT / "schemas/topics.json").read_text(encoding="utf-8"))
        found = [(name, kind, schema) for kind in ("command", "event") for name, schema in load(kind + "s")]
        names = [name for name, _, _ in found]
        self.messages = [Message(name, kind, schema, *readers(name, names, slots)) for name, kind, schema in found]

    def of(self, topic, kind=None):
        return [m for m in self.messages if m.topic == topic and kind in (None, m.kind)]


def load(folder):
    for path in sorted((ROOT / "schemas" / folder).glob("*.json")):
        yield path.stem, json.loads(path.read_text(encoding="utf-8"))


def handlers():
    """Message name in C -> names of the groups that have a slot for it, read from the groups themselves."""
    found = {}
    for path in sorted((ROOT / "consumers").rglob("*.c")):
        group = None
        for line in path.read_text(encoding="utf-8").splitlines():
            if start := GROUP.match(line):
                group = start.group(1)
            slot = SLOT.match(line)
            if group and slot:
                found.setdefault(slot.group(1), []).append(group)
    return found


def readers(name, names, slots):
    """Who reads it, and lifted to which major: handlers see the newest one only."""
    base, major = name.rsplit(".v", 1)
    newest = max(int(n.rsplit(".v", 1)[1]) for n in names if n.rsplit(".v", 1)[0] == base)
    return slots.get(c_name(f"{base}.v{newest}"), []), None if int(major) == newest else newest


def c_name(name):
    return re.sub(r"[.-]", "_", name.removesuffix(".v1"))


def fields(message):
    marks = []
    for name, field in message.fields:
        mark = name if name in message.required else f"{name}?"
        marks.append(f"**{mark}**" if field.get("x-personal") else mark)
    return " ".join(marks)


def markdown(shop):
    out = ["# Messages", "",
           "Made by `schemas/describe.py messages` from the schemas and the groups' tables; a test compares. `?` is optional,",
           "**bold** is personal: sealed on the bus. Commands come in by the door; events are facts, or requests from one",
           "group to another, and stand in the partition of the aggregate that must act or be told.", ""]
    for topic in shop.topics:
        mine = shop.of(topic["name"])
        out += [f"## {topic['name']}", "", f"Key: {topic['key']}. Handled by: {topic['group'] or 'nobody yet'}.", ""]
        if mine:
            out += ["| message | | from | read by | fields |", "|---|---|---|---|---|"]
        out += [f"| `{m.name}` {m.title} | {m.kind} | {', '.join(m.emitters)} | {m.read_by} | {fields(m)} |"
                for m in mine] + [""]
    return "\n".join(out)


def main(words):
    import asyncapi  # they need this module
    import catalogue
    shop = Shop()
    texts = {"messages": lambda: markdown(shop), "asyncapi": lambda: asyncapi.yaml(asyncapi.document(shop))}
    if len(words) == 2 and words[0] == "--c":
        Path(words[1], "described.c").write_text(catalogue.c_source(shop), encoding="utf-8")
    elif len(words) == 3 and words[0] in texts and words[1] == "--check":
        if Path(words[2]).read_text(encoding="utf-8") != texts[words[0]]():
            sys.exit(f"{words[2]} is not what the schemas say; run: schemas/describe.py {words[0]} > {words[2]}")
    elif len(words) == 1 and words[0] in texts:
        sys.stdout.write(texts[words[0]]())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
