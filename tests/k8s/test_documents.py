"""Alerts, dashboard, guide and image say the same as the rest of the project."""

import json
import re
import subprocess
import unittest

import yaml
from chart import CHART, HERE, PACKAGES, ROOT

ALERTS = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"][0]["rules"]


def metrics():
    """The metrics of the table in the project's README."""
    return set(re.findall(r"^\| `(tailwater_[a-z_]+)`", (ROOT / "README.md").read_text(), re.M))


def named(text):
    """The metrics that an expression asks for; of a histogram, its own name."""
    words = re.findall(r"\btailwater_[a-z_]+", text)
    return {re.sub(r"_(bucket|sum|count)$", "", word) for word in words}


class Documents(unittest.TestCase):
    def test_every_alert_has_a_section_in_the_guide_and_every_section_its_alert(self):
        guide = (ROOT / "k8s/README.md").read_text()
        sections = re.findall(r"^\*\*(Tailwater\w+)\*\*", guide, re.M)
        self.assertEqual(sections, [rule["alert"] for rule in ALERTS])

    def test_alerts_say_how_bad_it_is_and_what_it_is(self):
        for rule in ALERTS:
            with self.subTest(rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("critical", "warning"))
                self.assertTrue(rule["annotations"]["summary"].endswith("."))

    def test_every_alert_is_made_to_fire_by_a_test_of_it(self):
        tests = yaml.safe_load((HERE / "alerts.test.yaml").read_text())["tests"]
        fired = {rule["alertname"] for test in tests for rule in test["alert_rule_test"] if rule["exp_alerts"]}
        self.assertEqual(fired, {rule["alert"] for rule in ALERTS})

    def test_alerts_dashboard_and_guide_ask_for_metrics_that_there_are(self):
        text = (CHART / "files/dashboard.json").read_text()
        expressions = [target["expr"] for panel in json.loads(text)["panels"] for target in panel.get("targets", [])]
        asked = named("\n".join(expressions)) | {name for rule in ALERTS for name in named(rule["expr"])}
        self.assertLessEqual(asked | named((ROOT / "k8s/README.md").read_text()), metrics())

    def test_alerts_and_dashboard_ask_for_labels_that_there_are_and_name_those_that_are_left(self):
        rows = re.findall(r"^\| `(tailwater_[a-z_]+)` \| \w+ \| ([^|]*) \|", (ROOT / "README.md").read_text(), re.M)
        labels = {name: set(re.findall(r"`(\w+)`:", column)) for name, column in rows}
        text = (CHART / "files/dashboard.json").read_text()
        targets = [target for panel in json.loads(text)["panels"] for target in panel.get("targets", [])]
        asked = [(target["expr"], target["legendFormat"]) for target in targets]
        asked += [(rule["expr"], rule["annotations"]["summary"].replace("$labels.", "")) for rule in ALERTS]
        for expression, told in asked:
            with self.subTest(expression):
                # A scrape adds the first two.
                known = {"namespace", "pod", "le"}.union(*(labels[name] for name in named(expression)))
                kept = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
                kept = {label.strip() for part in kept for label in part.split(",")}
                matched = set(re.findall(r"(\w+)=~?\"", expression))
                self.assertLessEqual(kept | matched, known)
                self.assertLessEqual(set(re.findall(r"{{ ?(\w+) ?}}", told)), kept)

    def test_the_dockerfile_is_clean_and_ends_in_one_binary_without_root(self):
        hadolint = PACKAGES / "python/bin/hadolint"
        finished = subprocess.run([hadolint, ROOT / "k8s/Dockerfile"], capture_output=True, text=True)
        self.assertEqual((finished.returncode, finished.stdout), (0, ""))
        last = (ROOT / "k8s/Dockerfile").read_text().rsplit("FROM ", 1)[1]
        self.assertTrue(last.startswith("scratch\n"))
        self.assertIn("USER 65532:65532", last)

    def test_the_bill_of_materials_has_every_crate_of_the_binary(self):
        printed = subprocess.run([ROOT / "k8s/sbom"], capture_output=True, text=True, check=True).stdout
        components = json.loads(printed)["components"]
        names = {component["name"] for component in components}
        self.assertLessEqual({"tailwater-broker", "tokio", "rustls", "ring", "async-nats"}, names)
        for component in components:
            with self.subTest(component["name"]):
                self.assertIn("licenses", component)
                self.assertIn("hashes" if not component["name"].startswith("tailwater") else "purl", component)


if __name__ == "__main__":
    unittest.main()
