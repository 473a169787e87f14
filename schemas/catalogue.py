"""The catalogue at /docs: one page of every message, who emits it, who reads it, its fields, an example. And described.c,
which carries it and the AsyncAPI document into the front door."""

import html
import json

import asyncapi

UUID, TIME = "01a20545-9d80-7104-951f-d24e160d0f30", "2026-11-25T18:00:00.000Z"
SEALED = f"sealed:1:{UUID}:" + "A" * 64  # the form of bus/base/seal.h; it opens with nobody's key
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:68rem;padding:1rem;color:#1c2733;background:#fff}
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-bottom:2px solid #1c2733}h3{margin:1.6rem 0 .2rem;font-size:1.05rem}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f3f5f7;padding:.6rem;overflow-x:auto}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.15rem .6rem .15rem 0}
tr{border-bottom:1px solid #e2e6ea}.kind{color:#5a6b7b;font-weight:400}.who{margin:0;color:#3c4c5a}nav a{margin-right:1rem}
@media(prefers-color-scheme:dark){body{background:#12181e;color:#dbe3ea}pre{background:#1c252d}h2{border-color:#dbe3ea}
tr{border-color:#2b3640}.kind,.who{color:#9fb0bf}a{color:#8ec5ff}}
"""
STRINGS = {"uuid": UUID, "date-time": TIME, "date": "2026-11-25", "email": "ana@example.com", "slug": "realme-c35",
           "currency": "USD", "uri": "https://example.com/realme-c35.webp"}


def value(name, node):
    """An example of a field as the bus carries it."""
    if node.get("x-personal"):
        return SEALED
    if "x-money" in node or "x-decimal" in node:
        return max(14999, node.get("minimum", 0))
    if "x-raw" in node:
        return {}
    if node["type"] == "object":
        return {k: value(k, v) for k, v in node["properties"].items()}
    if node["type"] == "array":
        return [value(name, node["items"])]
    if node["type"] == "boolean":
        return True
    if node["type"] == "integer":
        return min(max(2, node.get("minimum", 2)), node.get("maximum", 2))
    if "enum" in node:
        return node["enum"][0]
    text = STRINGS.get(node.get("format"), name.replace("_", " "))
    return text[:node.get("maxLength", len(text))].ljust(node.get("minLength", 0), "x")


def example(m):
    return {name: value(name, node) for name, node in m.fields if not node.get("x-secret")}


def kind_of(node):
    if node.get("x-personal"):
        return "personal, sealed"
    if "x-money" in node or "x-decimal" in node:
        return "money, minor units"
    if "x-raw" in node:
        return "JSON"
    words = node["type"] if node["type"] != "array" else "list of " + kind_of(node["items"])
    if "format" in node:
        words = node["format"]
    return words + (": " + ", ".join(node["enum"]) if "enum" in node else "")


def rows(m):
    for name, node in m.fields:
        if node.get("x-secret"):
            continue
        cells = [f"<code>{html.escape(name)}</code>", html.escape(kind_of(node)),
                 "" if name in m.required else "optional", html.escape(node.get("description", ""))]
        yield "<tr><td>" + "</td><td>".join(cells) + "</td></tr>"


def article(m):
    return "\n".join([
        f'<h3 id="{m.name}"><code>{m.name}</code> <span class="kind">{m.kind}</span></h3>',
        f"<p>{html.escape(m.title)}.</p>",
        f'<p class="who">From {", ".join(m.emitters)}; read by {html.escape(m.read_by)}. Key: <code>{m.key}</code>.</p>',
        "<table><tr><th>field</th><th>kind</th><th></th><th></th></tr>", *rows(m), "</table>",
        f"<pre>{html.escape(json.dumps(example(m), indent=2, ensure_ascii=False))}</pre>"])


def page(shop):
    out = ['<!doctype html><html lang="en"><meta charset="utf-8"><title>DaydreamShop: messages</title>',
           '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="stylesheet" href="/docs/style.css">',
           "<h1>Messages of the shop</h1><p>Events are facts; commands ask for one. Each stands in the partition of its key, in"
           ' order. As a document for programs: <a href="/asyncapi.json">asyncapi.json</a>,'
           ' <a href="/asyncapi.yaml">asyncapi.yaml</a>.</p><nav>']
    out += [f'<a href="#{t["name"]}">{t["name"]}</a>' for t in shop.topics] + ["</nav>"]
    for topic in shop.topics:
        out.append(f'<h2 id="{topic["name"]}">{topic["name"]}</h2><p class="who">Key: {html.escape(topic["key"])}. Handled by'
                   f' {topic["group"] or "nobody yet"}.</p>')
        out += [article(m) for m in shop.of(topic["name"], "event") + shop.of(topic["name"], "command")]
    return "\n".join(out) + "\n</html>\n"


def c_string(text):
    """A C string literal, a line each, with the bytes that C would take for something else escaped."""
    def literal(line):
        escaped = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in line.encode())
        return f'    "{escaped}"'
    return "\n".join(literal(line) for line in text.splitlines(keepends=True)) or '    ""'


def c_source(shop):
    document = asyncapi.document(shop)
    texts = {"asyncapi_json": json.dumps(document, indent=1, ensure_ascii=False) + "\n", "asyncapi_yaml": asyncapi.yaml(document),
             "catalogue_html": page(shop), "catalogue_css": STYLE.lstrip()}
    out = ['/* Made by schemas/describe.py from the schemas and the groups. */', '#include "api/described.h"', ""]
    for name, text in texts.items():
        out += [f"const struct str described_{name} = STR(", c_string(text) + ");", ""]
    return "\n".join(out)
