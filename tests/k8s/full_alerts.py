"""The alerts as Prometheus reads them; needs promtool (Debian's package `prometheus`)."""

import shutil
import subprocess
import unittest

from chart import CHART, HERE


@unittest.skipUnless(shutil.which("promtool"), "needs promtool: apt-get install prometheus")
class Alerts(unittest.TestCase):
    def promtool(self, *arguments):
        finished = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
        self.assertEqual(finished.returncode, 0, finished.stdout + finished.stderr)

    def test_prometheus_reads_them(self):
        self.promtool("check", "rules", CHART / "files/alerts.yaml")

    def test_they_fire_when_they_should_and_not_before(self):
        self.promtool("test", "rules", HERE / "alerts.test.yaml")


if __name__ == "__main__":
    unittest.main()
