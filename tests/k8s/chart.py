"""The chart as the tests see it: values, what Helm makes of them, and the edge that is to read it."""

import functools
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHART = ROOT / "k8s/chart"
PACKAGES = HERE / ".packages"
HELMS = ["helm-3", "helm-4"]

# Every set of values that is rendered: those that the project hands out, and those of the tests.
VALUES = sorted([*(CHART / "examples").glob("*.yaml"), *(HERE / "values").glob("*.yaml")])

# Where the chart mounts files that a configuration names.
FILES = "/run/secrets/tailwater/"


def helm(version, *arguments):
    """Runs Helm; its result, which may be a failure."""
    with tempfile.TemporaryDirectory() as home:
        homes = {f"HELM_{kind}_HOME": home for kind in ("CACHE", "CONFIG", "DATA")}
        command = [PACKAGES / version / "helm/helm", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | homes)


@functools.cache
def rendered(values, version="helm-3", *more):
    """All resources that the chart makes of a file of values."""
    finished = helm(version, "template", "live", CHART, "--namespace", "rooms", "--values", values, *more)
    assert finished.returncode == 0, f"{values.name}: {finished.stderr}"
    return [document for document in yaml.safe_load_all(finished.stdout) if document]


def notes(values, version):
    """What Helm says after an install. It says so of a cluster only, so the notes are rendered as a resource."""
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(shutil.copytree(CHART, folder, dirs_exist_ok=True))
        shutil.copy(chart / "templates/NOTES.txt", chart / "notes.txt")
        wrapper = 'kind: ConfigMap\ndata: {notes: {{ tpl (.Files.Get "notes.txt") . | toJson }}}\n'
        (chart / "templates/wrapper.yaml").write_text(wrapper)
        show = ["--show-only", "templates/wrapper.yaml"]
        finished = helm(version, "template", "live", chart, "--namespace", "rooms", "--values", values, *show)
        assert finished.returncode == 0, finished.stderr
        return yaml.safe_load(finished.stdout)["data"]["notes"]


def of_kind(resources, kind, component="edge"):
    """The resources of a kind and component."""
    label = "app.kubernetes.io/component"
    return [each for each in resources if each["kind"] == kind and each["metadata"]["labels"][label] == component]


def pod_of(resource):
    """The pod that a resource makes, metadata and all; nothing if it makes none."""
    if resource["kind"] == "Pod":
        return resource
    return resource.get("spec", {}).get("template") if "template" in resource.get("spec", {}) else None


def configurations(resources):
    """The name and TOML text of each configuration of the edge among the resources."""
    for resource in resources:
        if resource["kind"] == "ConfigMap" and "tailwater.toml" in resource["data"]:
            yield resource["metadata"]["name"], resource["data"]["tailwater.toml"]


def leaves(table, path=()):
    """Every key of a table and its value."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def edge():
    """The edge's binary."""
    path = os.environ.get("EDGE_BINARY") or ROOT / "target/debug/tailwater"
    assert Path(path).exists(), f"no edge at {path}: build it, or set EDGE_BINARY"
    return path


def readable_here(text, folder):
    """A configuration that the edge can read outside a pod: with files that there are."""
    for path, value in leaves(tomllib.loads(text)):
        if isinstance(value, str) and value.startswith(FILES):
            (folder / value.removeprefix(FILES)).write_text(content_of(path))
    return text.replace(FILES, f"{folder}/")


def content_of(path):
    """What a file holds that the key at `path` names."""
    key = path[-1]
    if key == "hmac_secret_file":
        return "0123456789abcdef0123456789abcdef"
    if key == "jwks_file":
        # The example of RFC 8037, appendix A.2.
        key = {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        return json.dumps({"keys": [key]})
    if key == "public_key_file":
        return openssl("genpkey", "-algorithm", "ed25519", "|", "pkey", "-pubout")
    if key in ("key", "key_file"):
        return pair()[1]
    if key in ("certificate", "cert_file", "ca_file", "client_ca"):
        return pair()[0]
    if key == "nkey_seed_file":
        # A seed that nobody has: the one of NATS's own documentation.
        return "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
    return "a-secret-of-nobody"


def openssl(*arguments):
    """Runs openssl, or several behind one another."""
    commands = " ".join("| openssl" if part == "|" else part for part in arguments)
    return subprocess.run(f"openssl {commands}", shell=True, check=True, capture_output=True, text=True).stdout


@functools.cache
def pair():
    """A certificate of an authority, and its key."""
    with tempfile.TemporaryDirectory() as folder:
        key = f"{folder}/key.pem"
        subject = "-subj /CN=live.example.com -addext subjectAltName=DNS:live.example.com"
        certificate = openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", subject,
            "-keyout", key,
        )
        return certificate, Path(key).read_text()
