"""Writes what is derived: in `values.schema.json` the edge's configuration from the settings in the project's README, and in
the chart's README the table of values from the comments in `values.yaml`.

`tests/k8s/generate.py` writes them, `tests/k8s/generate.py --check` only says whether they are current.
"""

import json
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "k8s/chart"

# What may stand for NAME in a key, by the table that holds it.
NAMES = {"stream": "^[A-Za-z0-9_-]{1,64}$", "namespace": "^[a-z0-9_-]{1,64}$", "issuer": "^[a-z0-9_-]{1,64}$"}


def settings():
    """Every key of the edge and what it takes, as the table in the README says it; a test of the edge holds that table
    and the edge together."""
    rows = re.findall(r"^\| `([a-zA-Z0-9_.]+)` \|[^|]*\| ([^|]*) \|[^|]*\|$", (ROOT / "README.md").read_text(), re.M)
    return {path: kind for path, kind in rows if path == "listen" or "." in path}


def kind_schema(kind):
    """A kind of the settings as JSON Schema."""
    if limits := re.match(r"(\d+) to (\d+)", kind):
        return {"type": "integer", "minimum": int(limits[1]), "maximum": int(limits[2])}
    texts = {"type": "array", "items": {"type": "string"}}
    match kind:
        case "`true` or `false`":
            return {"type": "boolean"}
        case "text":
            return {"type": "string"}
        case "secret text":
            # Refused by the templates, with a sentence that says what to write instead.
            return {}
        case "path":
            return {"anyOf": [{"type": "string"}, {"$ref": "#/definitions/reference"}]}
        case "text or list":
            return {"anyOf": [{"type": "string"}, texts]}
    words = re.findall(r"`([^`]+)`", kind)
    assert words, f"no schema for the kind {kind!r}"
    return {"enum": words}


def config_schema():
    """The edge's whole configuration as JSON Schema."""
    def table():
        return {"type": "object", "additionalProperties": False}

    root = table()
    for path, kind in sorted(settings().items()):
        *tables, key = path.split(".")
        at, holder = root, ""
        for part in tables:
            inside = at.setdefault("patternProperties" if part == "NAME" else "properties", {})
            at, holder = inside.setdefault(NAMES[holder] if part == "NAME" else part, table()), part
        at.setdefault("properties", {})[key] = kind_schema(kind)
    return root


def schema_text():
    path = CHART / "values.schema.json"
    schema = json.loads(path.read_text())
    schema["definitions"]["config"] = config_schema()
    return path, json.dumps(schema, indent=2) + "\n"


def value_rows():
    """Key, default and meaning of everything in values.yaml that has a comment above it."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    rows, comment, path = [], [], []
    for line in text.splitlines():
        if found := re.match(r"( *)# (.*)", line):
            comment.append(found[2])
        elif found := re.match(r"( *)([A-Za-z_]+):( .*)?$", line):
            path = [*path[: len(found[1]) // 2], found[2]]
            if comment:
                rows.append((path, " ".join(comment)))
            comment = []
        else:
            comment = []
    for path, meaning in rows:
        value = values
        for part in path:
            value = value[part]
        has_rows = any(other[: len(path)] == path and other != path for other, _ in rows)
        default = "" if has_rows or value is None else f"`{json.dumps(value)}`"
        yield ".".join(path), default, meaning


def table_text():
    path = CHART / "README.md"
    table = ["| Value | Default | Meaning |", "| --- | --- | --- |"]
    table += [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in value_rows()]
    begin, end = "<!-- values: written by tests/k8s/generate.py -->\n", "<!-- end of values -->"
    text = path.read_text()
    before, rest = text.split(begin)
    return path, before + begin + "\n".join(table) + "\n" + end + rest.split(end)[1]


def main():
    stale = False
    for path, text in (schema_text(), table_text()):
        if path.read_text() != text:
            stale = True
            if "--check" not in sys.argv:
                path.write_text(text)
    if stale and "--check" in sys.argv:
        sys.exit("the chart's table of values or schema is not current: run tests/k8s/generate.py")


if __name__ == "__main__":
    main()
