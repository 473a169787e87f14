#!/usr/bin/env python3
"""Writes docs/messages.md from the schemas: what flows in which topic, keyed by what, emitted and handled by whom.

    schemas/describe.py > docs/messages.md      schemas/describe.py --check docs/messages.md
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GROUP = re.compile(r"^const struct group (\w+)_group = \{")
SLOT = re.compile(r"^\s*\.(\w+) = \{")


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


def fields(schema):
    marks = []
    for name, field in schema["properties"].items():
        mark = name if name in schema.get("required", []) else f"{name}?"
        marks.append(f"**{mark}**" if field.get("x-personal") else mark)
    return " ".join(marks)


def readers(name, names, slots):
    """Handlers see the newest major only; an older one is read by the same groups, lifted."""
    base, major = name.rsplit(".v", 1)
    newest = max(int(n.rsplit(".v", 1)[1]) for n in names if n.rsplit(".v", 1)[0] == base)
    groups = ", ".join(slots.get(c_name(f"{base}.v{newest}"), [])) or "–"
    return groups if int(major) == newest else f"{groups} (as v{newest})"


def c_name(name):
    return re.sub(r"[.-]", "_", name.removesuffix(".v1"))


def main():
    slots = handlers()
    out = ["# Messages", "",
           "Made by `schemas/describe.py` from the schemas and the groups' tables; a test compares. `?` is optional,",
           "**bold** is personal: sealed on the bus. Commands come in by the door; events are facts, or requests from one",
           "group to another, and stand in the partition of the aggregate that must act or be told.", ""]
    messages = [(name, "command", s) for name, s in load("commands")] + [(name, "event", s) for name, s in load("events")]
    for topic in json.loads((ROOT / "schemas/topics.json").read_text(encoding="utf-8")):
        mine = [m for m in messages if m[2]["x-topic"] == topic["name"]]
        out += [f"## {topic['name']}", "", f"Key: {topic['key']}. Handled by: {topic['group'] or 'nobody yet'}.", ""]
        if mine:
            out += ["| message | | from | read by | fields |", "|---|---|---|---|---|"]
        for name, kind, schema in mine:
            read_by = readers(name, [m[0] for m in messages], slots)
            out.append(f"| `{name}` {schema['title']} | {kind} | {', '.join(schema['x-from'])} | {read_by} | {fields(schema)} |")
        out.append("")
    text = "\n".join(out)
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        if Path(sys.argv[2]).read_text(encoding="utf-8") != text:
            sys.exit(f"{sys.argv[2]} is not what the schemas say; run: schemas/describe.py > docs/messages.md")
    else:
        sys.stdout.write(text)


main()
