"""Two edges and NATS as the chart describes them, run by podman: as near to a cluster as one machine without one comes.

`k8s/pods` plays the controllers' part. Podman reads the pods, volumes, security contexts and configurations as Helm wrote them.
All traffic stays in a network namespace of its own.

Needs root, podman with buildah and runc, and cargo; without them it says so and is skipped.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import yaml
from chart import CHART, ROOT, helm

NEEDED = ["podman", "buildah", "runc", "conmon", "ip", "nsenter", "curl", "strip", "cargo"]
NAMESPACE = "tailwater-k8s"

# What lets podman run where it may not raise limits and there is no systemd.
CONTAINERS = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""

# The edge as k8s/Dockerfile ends, from a binary that is there.
IMAGES = {
    "tailwater:test": """FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY tailwater /tailwater
USER 65532:65532
ENTRYPOINT ["/tailwater"]
CMD ["serve"]
""",
    "nats:test": 'FROM scratch\nCOPY nats-server /nats-server\nENTRYPOINT ["/nats-server"]\n',
}


def run(*command, **options):
    finished = subprocess.run(command, capture_output=True, text=True, **options)
    if finished.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {finished.stderr or finished.stdout}")
    return finished.stdout


def eventually(what, attempt, seconds=60):
    """Waits until `attempt` gives something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (found := attempt()) is not None:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


def static_edge():
    """An edge that needs no library: `STATIC_EDGE_BINARY`, or one that is built here."""
    if path := os.environ.get("STATIC_EDGE_BINARY"):
        return path
    target = run("rustc", "--print", "host-tuple").strip()
    environment = os.environ | {"RUSTFLAGS": "-C target-feature=+crt-static"}
    build = ["cargo", "build", "--locked", "--quiet", "--package", "tailwater-edge", "--target", target]
    run(*build, cwd=ROOT, env=environment)
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return folder / target / "debug/tailwater"


def nats_server():
    found = os.environ.get("TAILWATER_NATS_SERVER") or shutil.which("nats-server")
    cached = sorted(Path.home().glob(".cache/tailwater/nats-server/*/nats-server"))
    return found or (cached[-1] if cached else None)


@unittest.skipUnless(os.geteuid() == 0, "needs root, for a network namespace")
@unittest.skipUnless(all(map(shutil.which, NEEDED)), f"needs {', '.join(NEEDED)}")
class Cluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="tailwater-k8s-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        (cls.folder / "containers.conf").write_text(CONTAINERS)
        cls.environment = os.environ | {"CONTAINERS_CONF": str(cls.folder / "containers.conf")}
        run("ip", "netns", "add", NAMESPACE)
        cls.addClassCleanup(run, "ip", "netns", "delete", NAMESPACE)
        run("ip", "-n", NAMESPACE, "link", "set", "lo", "up")
        cls.images()
        cls.addClassCleanup(cls.podman, "pod", "rm", "--all", "--force")

    @classmethod
    def storage(cls):
        return ["--root", cls.folder / "storage", "--runroot", cls.folder / "run"]

    @classmethod
    def podman(cls, *arguments):
        inside = ["nsenter", f"--net=/run/netns/{NAMESPACE}", "podman", "--log-level=error", *cls.storage()]
        return run(*inside, *arguments, env=cls.environment)

    @classmethod
    def images(cls):
        context = cls.folder / "context"
        context.mkdir()
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", context)
        shutil.copy(static_edge(), context / "tailwater")
        run("strip", context / "tailwater")
        shutil.copy(nats_server(), context)
        for name, text in IMAGES.items():
            (context / "Dockerfile").write_text(text)
            build = ["bud", "--quiet", "--isolation", "chroot", "--tag", f"localhost/{name}", context]
            run("buildah", *cls.storage(), *build, env=cls.environment)

    def play(self, resources, *options):
        """Has podman run what `k8s/pods` makes of the resources."""
        made = run(sys.executable, ROOT / "k8s/pods", *options, input=yaml.safe_dump_all(resources))
        file = self.folder / "pods.yaml"
        file.write_text(made)
        self.podman("play", "kube", file)

    def ask(self, port, path):
        """The status that the admin listener of the edge at this port of the namespace answers; `000`: none."""
        command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
        command = ["nsenter", f"--net=/run/netns/{NAMESPACE}", *command, f"http://127.0.0.1:{port}{path}"]
        return subprocess.run(command, capture_output=True, text=True).stdout

    def test_a_publication_goes_from_nats_through_each_of_two_edges_to_a_websocket(self):
        values = CHART / "examples/try.yaml"
        overrides = ["image.repository=localhost/tailwater", "image.tag=test", "service.port=8080"]
        overrides += ["nats.image.repository=localhost/nats", "nats.image.tag=test"]
        overrides += ["image.pullPolicy=Never", "nats.image.pullPolicy=Never"]
        set_all = [part for override in overrides for part in ("--set", override)]
        finished = helm("helm-3", "template", "live", CHART, "--values", values, *set_all)
        self.assertEqual(finished.returncode, 0, finished.stderr)
        resources = [each for each in yaml.safe_load_all(finished.stdout) if each]
        name = next(each["metadata"]["name"] for each in resources if each["kind"] == "Deployment")

        started = time.monotonic()
        self.play(resources)
        for port in (18081, 18181):
            eventually("ready", lambda port=port: True if self.ask(port, "/readyz") == "200" else None)
        print(f"ready after {time.monotonic() - started:.1f} s", end=" ... ", flush=True)

        test = next(each for each in resources if each["kind"] == "Pod")
        others = [each for each in resources if each is not test]
        for number, edge in enumerate((name, f"{name}-2")):
            # The name of the Service would lead to either.
            test = copy.deepcopy(test)
            test["metadata"]["name"] = f"round-trip-{number}"
            test["spec"]["containers"][0]["args"][1] = f"ws://{edge}:8080/ws"
            self.play([*others, test], "--test")
            container = f"round-trip-{number}-round-trip"
            code = self.podman("wait", container).strip()
            self.assertEqual((code, self.podman("logs", container)[:3]), ("0", "ok "))

        # Nothing of it is root, or can write where it should not.
        inspected = json.loads(self.podman("inspect", f"{name}-edge"))[0]
        self.assertEqual(inspected["Config"]["User"], "65532:65532")
        self.assertTrue(inspected["HostConfig"]["ReadonlyRootfs"])
        self.assertEqual(inspected["EffectiveCaps"] or [], [])

        begun = time.monotonic()
        self.podman("stop", "--time", "50", f"{name}-edge")
        state = json.loads(self.podman("inspect", f"{name}-edge"))[0]["State"]
        self.assertEqual(state["ExitCode"], 0)
        print(f"left after {time.monotonic() - begun:.1f} s", end=" ... ", flush=True)
        self.assertEqual(self.ask(18181, "/readyz"), "200")


if __name__ == "__main__":
    unittest.main()
