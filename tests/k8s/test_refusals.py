"""Values that cannot work are refused before anything is installed, with a sentence that says why."""

import tempfile
import unittest
from pathlib import Path

from chart import CHART, HELMS, helm
from generate import settings

# Values that are added to a set that works, and parts of what is said about them.
NATS = "config: {nats: {url: [nats://nats:4222]}, namespace: {news: {channels: news.>}}}\n"
REFUSED = {
    "no namespace": ("config: {nats: {url: [nats://nats:4222]}}", ["config.namespace is empty", "does not start"]),
    "no NATS": ("config: {namespace: {news: {channels: news.>}}}", ["config.nats.url is empty", "nats.enabled"]),
    "two NATS": (NATS + "nats: {enabled: true}", ["leave config.nats.url empty"]),
    "copies on one server": (
        "config: {namespace: {news: {channels: news.>, durable: true}}, stream: {NEWS: {replicas: 3}}}\nnats: {enabled: true}",
        ["config.stream.NEWS.replicas is 3", "one copy"],
    ),
    "provision before NATS": (
        "config: {namespace: {news: {channels: news.>}}}\nnats: {enabled: true}\nprovision: {enabled: true}",
        ["provision.enabled", "not there yet"],
    ),
    "killed while draining": (
        NATS + "terminationGracePeriodSeconds: 49",
        ["is 49", "may need 50 seconds", "5 + 30 + 10"],
    ),
    "a drain without an end": (
        "config: {nats: {url: [nats://n:1]}, drain: {timeout_secs: null}, namespace: {n: {channels: n.>}}}",
        ["config.drain.timeout_secs is missing"],
    ),
    "password": (
        "config: {nats: {url: [nats://nats:4222], password: x}, namespace: {news: {channels: news.>}}}",
        ["config.nats.password would stand in a ConfigMap", "config.nats.password_file: {existingSecret"],
    ),
    "shared secret": (
        "config: {nats: {url: [nats://n:1]}, identity: {issuer: {a: {hmac_secret: x}}}, namespace: {n: {channels: n.>}}}",
        ["config.identity.issuer.a.hmac_secret would stand"],
    ),
    "secret of the job": (
        NATS + "provision: {enabled: true, config: {nats: {token: x}}}",
        ["provision.config.nats.token would stand"],
    ),
    "headers for a collector": (
        "config: {nats: {url: [nats://n:1]}, telemetry: {otlp_headers: x=y}, namespace: {n: {channels: n.>}}}",
        ["config.telemetry.otlp_headers would stand", "otlp_headers_file"],
    ),
    "nobody replaced": (
        NATS + "rollingUpdate: {maxSurge: 0%, maxUnavailable: 0}",
        ["rollingUpdate.maxSurge and rollingUpdate.maxUnavailable"],
    ),
    "metrics for nobody": (NATS + "podMonitor: {enabled: true}", ["may not read", "config.admin.token_file", "open_metrics"]),
    "metrics with a token that the chart does not have": (
        "config: {admin: {token_file: /mnt/token}, nats: {url: [nats://n:1]}, namespace: {n: {channels: n.>}}}\nserviceMonitor: {enabled: true}",
        ["may not read"],
    ),
    "key of the edge as a variable": (
        NATS + "env: [{name: TAILWATER_DRAIN__TIMEOUT_SECS, value: '99'}]",
        ["TAILWATER_DRAIN__TIMEOUT_SECS", "in config alone"],
    ),
    "no port": (
        "config: {listen: '0.0.0.0', nats: {url: [nats://n:1]}, namespace: {n: {channels: n.>}}}",
        ["config.listen is 0.0.0.0", "1 to 65535"],
    ),
    "a port that is chosen later": (
        "config: {admin: {listen: '[::]:0'}, nats: {url: [nats://n:1]}, namespace: {n: {channels: n.>}}}",
        ["config.admin.listen is [::]:0"],
    ),
    "one port for both": (
        "config: {listen: '0.0.0.0:8081', nats: {url: [nats://n:1]}, namespace: {n: {channels: n.>}}}",
        ["the same port, 8081"],
    ),
    "probes on the loopback": (
        "config: {admin: {listen: '127.0.0.1:8081'}, nats: {url: [nats://n:1]}, namespace: {n: {channels: n.>}}}",
        ["config.admin.listen is 127.0.0.1:8081", "cannot probe the loopback"],
    ),
    "clients on the loopback": (
        "config: {listen: '[::1]:8080', nats: {url: [nats://n:1]}, namespace: {n: {channels: n.>}}}",
        ["config.listen is [::1]:8080"],
    ),
    "all clients one address": (
        NATS + "ingress: {enabled: true, hosts: [a.example.com]}",
        ["config.proxy.trusted is empty", "one address"],
    ),
    "ingress for nobody": (
        "config: {nats: {url: [nats://n:1]}, proxy: {trusted: [10.0.0.0/8]}, namespace: {n: {channels: n.>}}}\ningress: {enabled: true}",
        ["ingress.hosts is empty"],
    ),
    "route on nothing": (
        "config: {nats: {url: [nats://n:1]}, proxy: {trusted: [10.0.0.0/8]}, namespace: {n: {channels: n.>}}}\nhttpRoute: {enabled: true}",
        ["httpRoute.parentRefs is empty"],
    ),
    "health checks shut out": (NATS + "balancer: alb", ["networkPolicy.admin.from", "ipBlock"]),
    "counted twice": (
        NATS + "serviceMonitor: {enabled: true}\npodMonitor: {enabled: true}",
        ["counted twice"],
    ),
    "most below least": (
        NATS + "autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 3}",
        ["autoscaling.maxReplicas is 3"],
    ),
    "scaled by nothing": (NATS + "autoscaling: {enabled: true, targetCPU: 0}", ["looks at nothing"]),
    "share of nothing": (
        NATS + "autoscaling: {enabled: true}\nresources: {requests: {cpu: null}}",
        ["resources.requests.cpu, which is empty"],
    ),
    # What the schema says; the words are Helm's, and differ between its versions.
    "misspelt value": (NATS + "replica: 3", ["replica"]),
    "misspelt key of the edge": (
        "config: {nats: {url: [nats://n:1], pasword_file: x}, namespace: {n: {channels: n.>}}}",
        ["nats", "pasword_file"],
    ),
    "key of a namespace": (
        "config: {nats: {url: [nats://n:1]}, namespace: {n: {channels: n.>, durably: true}}}",
        ["namespace", "durably"],
    ),
    "out of range": (
        "config: {nats: {url: [nats://n:1]}, websocket: {ping_interval_secs: 1}, namespace: {n: {channels: n.>}}}",
        ["ping_interval_secs", "2"],
    ),
    "half a number": (
        "config: {nats: {url: [nats://n:1]}, edge: {workers: 1.5}, namespace: {n: {channels: n.>}}}",
        ["workers", "integer"],
    ),
    "name of a namespace": (
        "config: {nats: {url: [nats://n:1]}, namespace: {News: {channels: n.>}}}",
        ["namespace", "News"],
    ),
    "reference without a key": (
        "config: {admin: {token_file: {existingSecret: x}}, nats: {url: [nats://n:1]}, namespace: {n: {channels: n.>}}}",
        ["token_file", "key"],
    ),
    "reference where no file is": (
        "config: {nats: {url: [nats://n:1], user: {existingSecret: x, key: y}}, namespace: {n: {channels: n.>}}}",
        ["user", "string"],
    ),
    "budget of nothing": (NATS + "podDisruptionBudget: {maxUnavailable: 0}", ["maxUnavailable"]),
    # As where all below a key is commented out.
    "table of the configuration without anything": ("config: {nats: null, namespace: {n: {channels: n.>}}}", ["config", "nats"]),
    "table without anything": (NATS + "networkPolicy: null", ["networkPolicy"]),
    "table in a table without anything": (NATS + "probes: {startup: null}", ["probes", "startup"]),
    "unknown balancer": (NATS + "balancer: haproxy", ["balancer", "nginx"]),
    "unknown resource to merge": (NATS + "merge: {deployments: {}}", ["merge", "deployments"]),
}


class Refusals(unittest.TestCase):
    def test_no_key_that_holds_a_secret_gets_into_a_config_map(self):
        with tempfile.TemporaryDirectory() as folder:
            values = Path(folder) / "values.yaml"
            secret = [key for key, kind in settings().items() if kind == "secret text"]
            self.assertGreater(len(secret), 4)
            for key in secret:
                with self.subTest(key):
                    values.write_text(NATS)
                    put = ["--set", f"config.{key.replace('NAME', 'a')}=x"]
                    finished = helm("helm-3", "template", "live", CHART, "--values", values, *put)
                    self.assertIn("is no place for a secret", finished.stderr)

    def test_each_is_refused_with_its_reason_by_both_helms(self):
        with tempfile.TemporaryDirectory() as folder:
            values = Path(folder) / "values.yaml"
            values.write_text(NATS)
            self.assertEqual(helm("helm-3", "template", "live", CHART, "--values", values).returncode, 0)
            for name, (text, parts) in REFUSED.items():
                values.write_text(text)
                for version in HELMS:
                    with self.subTest(name, version=version):
                        finished = helm(version, "template", "live", CHART, "--values", values)
                        self.assertNotEqual(finished.returncode, 0)
                        for part in parts:
                            self.assertIn(part, finished.stderr)


if __name__ == "__main__":
    unittest.main()
