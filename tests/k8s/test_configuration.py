"""The configuration that the chart writes is the one that its values say, and the edge takes it."""

import re
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

import yaml
from chart import CHART, FILES, HELMS, ROOT, VALUES, configurations, edge, leaves, readable_here, rendered
from generate import config_schema, settings


def is_reference(value):
    return isinstance(value, dict) and "key" in value and ("existingSecret" in value or "configMap" in value)


def values_of(table, path=()):
    """What a configuration should say, of the `config` of values."""
    for key, value in table.items():
        if is_reference(value):
            yield (*path, key), FILES + ".".join((*path, key))
        elif isinstance(value, dict):
            yield from values_of(value, (*path, key))
        else:
            yield (*path, key), value


def merged(base, over):
    if not (isinstance(base, dict) and isinstance(over, dict)) or is_reference(over):
        return over
    return base | {key: merged(base.get(key), value) for key, value in over.items()}


class Configuration(unittest.TestCase):
    def test_it_says_what_the_values_say_with_whole_numbers_whole(self):
        defaults = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
        for path in VALUES:
            values = yaml.safe_load(path.read_text())
            expected = dict(values_of(merged(defaults, values["config"])))
            if values.get("nats", {}).get("enabled"):
                expected["nats", "url"] = ["nats://live-tailwater-nats:4222"]
            for version in HELMS:
                with self.subTest(values=path.name, version=version):
                    [(_, text), *_] = configurations(rendered(path, version))
                    found = dict(leaves(tomllib.loads(text)))
                    self.assertEqual(found, expected)
                    for key, value in found.items():
                        self.assertIs(type(value), type(expected[key]), key)

    def test_the_edge_takes_every_one_of_them(self):
        for path in VALUES:
            for name, text in configurations(rendered(path)):
                with self.subTest(values=path.name, name=name), tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / "tailwater.toml"
                    file.write_text(readable_here(text, Path(folder)))
                    check = [edge(), "check", "--offline", "--config", file]
                    finished = subprocess.run(check, capture_output=True, text=True)
                    self.assertEqual((finished.returncode, finished.stderr), (0, ""))

    def test_the_schema_has_the_keys_of_the_edge_and_no_others(self):
        def paths(schema, path=()):
            for holder in ("properties", "patternProperties"):
                for name, inner in schema.get(holder, {}).items():
                    part = name if holder == "properties" else "NAME"
                    if inner.get("type") == "object":
                        yield from paths(inner, (*path, part))
                    else:
                        yield ".".join((*path, part))

        self.assertEqual(set(paths(config_schema())), set(settings()))
        self.assertGreater(len(settings()), 100)

    def test_every_key_that_templates_and_documents_name_is_one_of_the_edge(self):
        known = {tuple(key.split(".")) for key in settings()}
        known |= {key[:length] for key in known for length in range(1, len(key))}

        def is_known(path):
            """Names that a configuration chooses are written in capitals, `*` or with a place for them."""
            return any(
                len(key) == len(path) and all(a == b or a == "NAME" for a, b in zip(key, path, strict=True)) for key in known
            )

        files = [*CHART.glob("templates/**/*"), CHART / "values.yaml", CHART / "README.md", ROOT / "k8s/README.md"]
        seen = set()
        for file in filter(Path.is_file, files):
            text = file.read_text()
            named = re.findall(r"(?<![a-z.-])\$?(?:\.Values\.)?config\.([a-z_]+(?:\.(?:[a-z_]+|[A-Z]+|%s|NAME))*)", text)
            paths = {tuple(part.replace("%s", "NAME") for part in name.split(".")) for name in named}
            for arguments in re.findall(r'dig ((?:"\w+" )+)\S+ (?:\$config|\$root\.Values\.config|\.Values\.config|\$values)', text):
                words = re.findall(r'"(\w*)"', arguments)
                paths.add(tuple(words))
            for path in paths:
                with self.subTest(file=file.name, path=path):
                    # What is written after a key: a reference, or a place for its name.
                    after = path[-1] in ("existingSecret", "NAME") and is_known(path[:-1])
                    self.assertTrue(is_known(path) or after)
            seen |= paths
        self.assertGreater(len(seen), 15, "the expressions find nothing any more")


if __name__ == "__main__":
    unittest.main()
