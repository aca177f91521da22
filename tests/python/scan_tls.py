"""A scanner's view of TLS: `sslyze` finds no weakness that it knows, and no deviation from Mozilla's "intermediate" profile.

It needs `requirements-full.txt`, and nothing of any network but the loopback.
"""

import json
import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path
from urllib.parse import urlsplit

from sslyze import ScanCommandAttemptStatusEnum, Scanner, ServerNetworkLocation, ServerScanRequest
from sslyze.mozilla_tls_profile.tls_config_checker import (
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)

DEADLINE = 30

CONFIG = """
[tls]
certificate = "edge.pem"
key = "edge.key"
[namespace.all]
channels = ">"
anonymous = true
"""

KEYS = {
    "ECDSA": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "RSA": ["-newkey", "rsa:2048"],
}


def certify(folder, key):
    """A certificate by itself, as long as browsers accept one."""
    command = ["openssl", "req", "-x509", "-nodes", "-days", "90", "-subj", "/CN=localhost", *KEYS[key]]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", "edge.pem", "-keyout", "edge.key"]
    subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)


class Scan(unittest.TestCase):
    def serve(self, folder):
        """The port of an edge, which needs no NATS for this."""
        config = Path(folder, "tailwater.toml")
        config.write_text(CONFIG)
        command = [os.environ["EDGE_BINARY"], "serve", "--json", "--config", config, "--nats", "nats://127.0.0.1:1"]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        edge = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(edge.stdout.close)
        self.addCleanup(edge.wait, DEADLINE)
        self.addCleanup(edge.send_signal, signal.SIGTERM)
        return urlsplit(json.loads(edge.stdout.readline())["ws"]).port

    def test_neither_kind_of_key_has_a_weakness(self):
        profile = MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE)
        for key in KEYS:
            with self.subTest(key), tempfile.TemporaryDirectory() as folder:
                certify(folder, key)
                location = ServerNetworkLocation("localhost", self.serve(folder), "127.0.0.1")
                scanner = Scanner()
                scanner.queue_scans([ServerScanRequest(location)])
                (result,) = scanner.get_results()
                issues = {}
                try:
                    check_server_against_tls_configuration(result, profile)
                except ServerNotCompliantWithTlsConfiguration as error:
                    issues = error.issues
                # Nobody vouches for a certificate by itself.
                issues.pop("certificate_path_validation", None)
                self.assertEqual(issues, {})
                early = result.scan_result.tls_1_3_early_data
                self.assertEqual(early.status, ScanCommandAttemptStatusEnum.COMPLETED)
                self.assertFalse(early.result.supports_early_data)


if __name__ == "__main__":
    unittest.main()
