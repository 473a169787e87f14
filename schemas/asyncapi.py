"""The AsyncAPI 3.0 document of the bus: topics are channels, groups receive, whoever emits sends."""

import json
import re

ENVELOPE = [
    ("specversion", "CloudEvents 1.0"),
    ("id", "of the message, a UUIDv7; of a command it is also what a new aggregate will be called"),
    ("source", "who emitted it: a group, the door, timer, schedules, jobs, ctl"),
    ("type", "aggregate.what-happened.vMAJOR"),
    ("subject", "the aggregate"),
    ("time", "RFC 3339, UTC: when it was authored"),
    ("dataschema", "type and minor version of data: order.placed/1.0"),
    ("partitionkey", "what decides the partition: crc32c of it modulo the number of partitions"),
    ("correlationid", "the command that began all this"),
    ("causationid", "the message that caused this one"),
    ("actor", "who did it: user:<id>, empty for the shop itself"),
    ("traceparent", "W3C Trace Context"),
    ("datacontenttype", "application/json"),
]
COMMAND_ENVELOPE = [
    ("client", "who may ask for the result"),
    ("idempotencykey", "of that client; empty when none was sent"),
    ("fingerprint", "of the request, to know a key that is used twice"),
    ("expectedversion", "If-Match; empty when none was sent"),
    ("replyto", "channel for the hint that a result is there"),
]
LANES = {
    "event": ("evt", "Redis Stream of events. Ids are ms-seq: seq counts the events of a partition without gaps, so a"
                     " reader that finds one missing knows it."),
    "command": ("cmd", "Redis Stream of commands that are not done yet; the handling group deletes what it has done."),
}


def headers(kind):
    names = ENVELOPE + (COMMAND_ENVELOPE if kind == "command" else [])
    return {"type": "object", "required": [name for name, _ in names],
            "properties": {name: {"type": "string", "description": text} for name, text in names}}


def payload(node):
    """A node of our dialect as plain JSON Schema: as the bus carries it, money in integer minor units."""
    if "x-money" in node or "x-decimal" in node:
        kept = {k: v for k, v in node.items() if k in ("minimum", "maximum", "title", "description")}
        return {"type": "integer", **kept}
    if node.get("x-personal"):
        return {"type": "string", "description": "personal: sealed under the person's own key"}
    if "x-raw" in node:
        return {"description": node.get("description", "any JSON value")}
    plain = {k: v for k, v in node.items() if not k.startswith("x-") and k not in ("$schema", "$id", "additionalProperties")}
    if "properties" in plain:
        plain["properties"] = {k: payload(v) for k, v in plain["properties"].items() if not v.get("x-secret")}
        plain["required"] = [name for name in plain.get("required", []) if name in plain["properties"]]
    if "items" in plain:
        plain["items"] = payload(plain["items"])
    return plain


def key(name):
    """A key of a component: letters, digits, dots, dashes."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def message(m, example):
    return {"name": m.name, "title": m.title, "summary": m.title, "contentType": "application/json",
            "tags": [{"name": m.kind}] + [{"name": "emitted-by-" + e} for e in m.emitters],
            "headers": {"$ref": f"#/components/schemas/{m.kind}-envelope"},
            "payload": payload(m.schema), "examples": [{"name": "example", "payload": example(m)}]}


def channel(topic, kind, messages):
    lane, text = LANES[kind]
    return {"address": lane + ":{stream}", "title": f"{topic['name']}, {kind}s", "description": text,
            "servers": [{"$ref": "#/servers/redis"}],
            "parameters": {"stream": {
                "description": f"the partition, braces included: {{{topic['name']}.NN}}. Key: {topic['key']}",
                "examples": [f"{{{topic['name']}.03}}"]}},
            "messages": {key(m.name): {"$ref": f"#/components/messages/{key(m.name)}"} for m in messages}}


def operation(action, name, title, messages):
    return {"action": action, "title": title, "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{key(m.name)}"} for m in messages]}


def document(shop):
    from catalogue import example
    channels, operations = {}, {}
    for topic in shop.topics:
        for kind in LANES:
            mine = shop.of(topic["name"], kind)
            if not mine:
                continue
            name = f"{topic['name']}-{kind}s"
            channels[name] = channel(topic, kind, mine)
            operations[f"send-{name}"] = operation("send", name, f"What is emitted as {kind}s of {topic['name']}", mine)
            for group in sorted({g for m in mine for g in m.readers}):
                operations[f"{group}-receives-{name}"] = operation(
                    "receive", name, f"What the group {group} handles", [m for m in mine if group in m.readers])
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "DaydreamShop", "version": "1.0.0", "license": {"name": "All rights reserved"},
                 "description": "Every message of the shop. Made from schemas/ and the groups' tables.",
                 "tags": [{"name": "command"}, {"name": "event"}]},
        "defaultContentType": "application/json",
        "servers": {"redis": {"host": "localhost:6379", "protocol": "redis",
                              "description": "REDIS_URL of the shop. An outside reader gets a user with rights on evt:* only."}},
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": {f"{kind}-envelope": headers(kind) for kind in LANES},
            "messages": {key(m.name): message(m, example) for m in shop.messages},
        },
    }


def yaml(node, indent=0):
    """YAML 1.2 of plain data. Scalars are written as JSON, which YAML contains."""
    pad, out = "  " * indent, []
    if not node:
        return pad + json.dumps(node) + "\n"
    for name, value in node.items() if isinstance(node, dict) else (("-", v) for v in node):
        head = pad + (name if name == "-" else json.dumps(name) + ":")
        if isinstance(value, (dict, list)) and value:
            nested = yaml(value, indent + 1)
            out.append(head + (" " + nested.lstrip(" ") if name == "-" else "\n" + nested))
        else:
            out.append(head + " " + json.dumps(value, ensure_ascii=False) + "\n")
    return "".join(out)
