"""What Helm makes of the chart is what Kubernetes takes, and hangs together."""

import unittest

import kubernetes_validate
import yaml
from chart import CHART, HELMS, VALUES, configurations, helm, notes, of_kind, pod_of, rendered

# The three newest; each has its own schemas.
KUBERNETES = ["1.35", "1.36", "1.37"]

# Groups of resources that are not Kubernetes' own.
CUSTOM = ["gateway.networking.k8s.io", "monitoring.coreos.com", "cloud.google.com", "networking.gke.io"]


def by_name(name):
    return next(path for path in VALUES if path.stem == name)


class Manifests(unittest.TestCase):
    def test_lint_has_nothing_to_say(self):
        for version in HELMS:
            for values in VALUES:
                with self.subTest(version=version, values=values.name):
                    finished = helm(version, "lint", "--strict", "--quiet", CHART, "--values", values)
                    self.assertEqual((finished.returncode, finished.stderr), (0, ""), finished.stdout)

    def test_both_helms_make_the_same(self):
        for values in VALUES:
            with self.subTest(values=values.name):
                self.assertEqual(rendered(values, "helm-3"), rendered(values, "helm-4"))

    def test_every_resource_fits_the_schemas_of_the_three_newest_kubernetes(self):
        for values in VALUES:
            for resource in rendered(values):
                for version in KUBERNETES:
                    with self.subTest(values=values.name, kind=resource["kind"], version=version):
                        try:
                            kubernetes_validate.validate(resource, version, strict=True)
                        except kubernetes_validate.SchemaNotFoundError:
                            self.assertIn(resource["apiVersion"].split("/")[0], CUSTOM)

    def test_every_pod_is_restricted_and_gets_no_token(self):
        seen = set()
        for values in VALUES:
            for resource in rendered(values):
                if not (pod := pod_of(resource)):
                    continue
                seen.add(resource["kind"])
                with self.subTest(values=values.name, kind=resource["kind"]):
                    spec = pod["spec"]
                    self.assertFalse(spec["automountServiceAccountToken"])
                    security = spec["securityContext"]
                    self.assertTrue(security["runAsNonRoot"])
                    self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
                    kinds = {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"}
                    self.assertLessEqual(kinds, {"configMap", "projected", "emptyDir"})
                    for container in spec["containers"]:
                        self.assertEqual(
                            container["securityContext"],
                            {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        )
                        self.assertIn("memory", container["resources"]["limits"])
        self.assertEqual(seen, {"Deployment", "StatefulSet", "Job", "Pod"})

    def test_no_two_resources_have_one_name(self):
        for values in VALUES:
            names = [(each["kind"], each["metadata"]["name"]) for each in rendered(values)]
            self.assertEqual(len(names), len(set(names)), values.name)

    def test_whatever_selects_pods_selects_those_that_it_means(self):
        for values in VALUES:
            resources = rendered(values)
            for component, kind in (("edge", "Deployment"), ("nats", "StatefulSet")):
                for maker in of_kind(resources, kind, component):
                    labels = pod_of(maker)["metadata"]["labels"].items()
                    selectors = [maker["spec"]["selector"]["matchLabels"]]
                    selectors += [each["spec"]["selector"] for each in of_kind(resources, "Service", component)]
                    for other in ("PodDisruptionBudget", "PodMonitor"):
                        selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(resources, other, component)]
                    for policy in of_kind(resources, "NetworkPolicy", component):
                        selectors.append(policy["spec"]["podSelector"]["matchLabels"])
                    for constraint in maker["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
                        selectors.append(constraint["labelSelector"]["matchLabels"])
                    for selector in selectors:
                        self.assertLessEqual(selector.items(), labels, values.name)
                        self.assertIn(("app.kubernetes.io/component", component), selector.items())
            for monitor in of_kind(resources, "ServiceMonitor"):
                chosen = monitor["spec"]["selector"]["matchLabels"].items()
                services = [each for each in of_kind(resources, "Service") if chosen <= each["metadata"]["labels"].items()]
                self.assertEqual([each["spec"]["ports"][0]["name"] for each in services], ["admin"], values.name)

    def test_ports_and_probes_go_where_the_edge_listens(self):
        [deployment] = of_kind(rendered(by_name("numbers")), "Deployment")
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        self.assertEqual(ports, {"http": 18080, "admin": 18081})
        probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        self.assertEqual(probes["startup"], {"path": "/livez", "port": "admin"})
        self.assertEqual(probes["liveness"], {"path": "/livez", "port": "admin"})
        self.assertEqual(probes["readiness"], {"path": "/readyz", "port": "admin"})

    def test_the_time_to_leave_follows_the_drain(self):
        def times(name):
            [deployment] = of_kind(rendered(by_name(name)), "Deployment")
            return deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], deployment["spec"]["minReadySeconds"]

        self.assertEqual(times("minimal"), (5 + 30 + 10 + 5, 30))
        self.assertEqual(times("numbers"), (0 + 120 + 3 + 5, 0))
        self.assertEqual(times("bare"), (300, 30))

    def test_pods_are_replaced_when_the_configuration_changes_and_only_then(self):
        def checksum(*more):
            [deployment] = of_kind(rendered(by_name("minimal"), "helm-3", *more), "Deployment")
            return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

        self.assertEqual(checksum(), checksum("--set", "replicas=7"))
        self.assertNotEqual(checksum(), checksum("--set", "config.edge.workers=3"))
        self.assertNotEqual(checksum(), checksum("--set", "merge.configMap.data.more=x"))

    def test_every_pod_that_reads_the_configuration_has_what_that_needs_and_runs_where_edges_may(self):
        resources = rendered(by_name("everything-merged"))
        pods = [pod_of(each)["spec"] for each in resources if pod_of(each)]
        self.assertEqual(len(pods), 3, "edges, Job and test")
        for pod in pods:
            [container] = pod["containers"]
            self.assertIn({"name": "certificates", "configMap": {"name": "bundle"}}, pod["volumes"])
            self.assertIn({"name": "certificates", "mountPath": "/certificates"}, container["volumeMounts"])
            self.assertIn({"name": "SSL_CERT_FILE", "value": "/certificates/bundle.pem"}, container["env"])
            self.assertEqual(pod["nodeSelector"], {"kubernetes.io/os": "linux"})
            self.assertEqual(pod["tolerations"], [{"key": "realtime", "operator": "Exists"}])

    def test_the_alert_that_no_edge_is_left_looks_at_those_of_this_release(self):
        [rule] = of_kind(rendered(by_name("production")), "PrometheusRule")
        expressions = {alert["alert"]: alert["expr"] for alert in rule["spec"]["groups"][0]["rules"]}
        self.assertEqual(expressions["TailwaterGone"], 'absent(tailwater_build_info{namespace="rooms"})')

    def test_the_network_policy_lets_out_to_dns_nats_issuers_and_the_collector_alone(self):
        def ports(name, *more):
            [policy] = of_kind(rendered(by_name(name), "helm-3", *more), "NetworkPolicy")
            return [sorted({port["port"] for port in rule["ports"]}) for rule in policy["spec"]["egress"]]

        self.assertEqual(ports("minimal"), [[53], [4222]])
        self.assertEqual(ports("numbers"), [[53], [4223, 4224]])
        self.assertEqual(ports("gateway"), [[53], [4222], [443]])
        self.assertEqual(ports("try"), [[53], [4222]])
        slash = ["--set", "config.nats.url=nats://nats:4333/"]
        self.assertEqual(ports("minimal", *slash), [[53], [4333]])
        issuer = ["--set", "config.identity.issuer.a.oidc_issuer=https://keys.example.com:8443/realms/a"]
        self.assertEqual(ports("minimal", *issuer), [[53], [4222], [8443]])
        self.assertEqual(ports("minimal", *issuer, "--set", "networkPolicy.issuers.ports={9443}"), [[53], [4222], [8443, 9443]])
        for endpoint, port in (("http://collector.rooms:4318", 4318), ("https://otlp.example.com/tenant", 443), ("http://[fd00::1]", 80)):
            collector = ["--set", f"config.telemetry.otlp_endpoint={endpoint}"]
            self.assertEqual(ports("minimal", *collector), [[53], [4222], [port]])
        [policy] = of_kind(rendered(by_name("minimal"), "helm-3", *collector, "--set-json", 'networkPolicy.collector.to=[{"podSelector":{}}]'), "NetworkPolicy")
        self.assertEqual(policy["spec"]["egress"][2]["to"], [{"podSelector": {}}])
        [policy] = of_kind(rendered(by_name("try")), "NetworkPolicy")
        peer = policy["spec"]["egress"][1]["to"][0]["podSelector"]["matchLabels"]
        self.assertEqual(peer["app.kubernetes.io/component"], "nats")

    def test_the_network_policy_lets_in_the_round_trip_beside_those_who_are_named(self):
        resources = rendered(by_name("secrets"))
        [policy] = of_kind(resources, "NetworkPolicy")
        named, test = policy["spec"]["ingress"][0]["from"]
        self.assertIn("namespaceSelector", named)
        [pod] = of_kind(resources, "Pod", "test")
        self.assertLessEqual(test["podSelector"]["matchLabels"].items(), pod["metadata"]["labels"].items())

    def test_each_balancer_is_told_of_long_connections_health_and_drain(self):
        [alb] = of_kind(rendered(by_name("alb")), "Ingress")
        annotations = alb["metadata"]["annotations"]
        prefix = "alb.ingress.kubernetes.io/"
        self.assertEqual(annotations[prefix + "load-balancer-attributes"], "idle_timeout.timeout_seconds=3600")
        self.assertEqual(annotations[prefix + "target-group-attributes"], "deregistration_delay.timeout_seconds=50")
        self.assertEqual(annotations[prefix + "healthcheck-port"], "8081")
        self.assertEqual(annotations[prefix + "scheme"], "internet-facing")

        [config] = of_kind(rendered(by_name("gke-ingress")), "BackendConfig")
        self.assertEqual(config["spec"]["timeoutSec"], 86400)
        self.assertEqual(config["spec"]["connectionDraining"], {"drainingTimeoutSec": 50})
        [service] = [each for each in of_kind(rendered(by_name("gke-ingress")), "Service") if each["spec"].get("clusterIP") != "None"]
        self.assertEqual(
            yaml.safe_load(service["metadata"]["annotations"]["cloud.google.com/backend-config"]),
            {"default": config["metadata"]["name"]},
        )

        gateway = rendered(by_name("gke-gateway"))
        [policy] = of_kind(gateway, "GCPBackendPolicy")
        self.assertEqual(policy["spec"]["default"]["timeoutSec"], 86400)
        [health] = of_kind(gateway, "HealthCheckPolicy")
        self.assertEqual(health["spec"]["default"]["config"]["httpHealthCheck"], {"portSpecification": "USE_FIXED_PORT", "port": 8081, "requestPath": "/readyz"})
        [route] = of_kind(gateway, "HTTPRoute")
        self.assertNotIn("timeouts", route["spec"]["rules"][0])
        tls = ["--set", "config.tls.certificate=/a", "--set", "config.tls.key=/b"]
        for more, protocol in ([], None), (tls, "HTTPS"):
            service = of_kind(rendered(by_name("gke-gateway"), "helm-3", *more), "Service")[1]
            self.assertEqual(service["spec"]["ports"][0].get("appProtocol"), protocol)

        [route] = of_kind(rendered(by_name("gateway")), "HTTPRoute")
        self.assertEqual(route["spec"]["rules"][0]["timeouts"], {"request": "0s", "backendRequest": "0s"})

        [nginx] = of_kind(rendered(by_name("production")), "Ingress")
        self.assertEqual(nginx["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"], "3600")
        [service, _] = of_kind(rendered(by_name("traefik")), "Service")[::-1]
        self.assertEqual(
            service["metadata"]["annotations"], {"traefik.ingress.kubernetes.io/service.serversscheme": "https"}
        )

    def test_what_is_merged_over_a_resource_is_there_and_the_rest_stays(self):
        [deployment] = of_kind(rendered(by_name("everything-merged")), "Deployment")
        pod = deployment["spec"]["template"]["spec"]
        self.assertEqual(deployment["metadata"]["annotations"], {"example.com/owner": "realtime"})
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        self.assertEqual(len(pod["securityContext"]["sysctls"]), 1)
        self.assertEqual(pod["containers"][0]["resources"]["limits"], {"memory": "2Gi"})
        self.assertEqual(len(pod["volumes"]), len(pod["containers"][0]["volumeMounts"]))

    def test_the_round_trip_shows_its_token_and_trusts_its_authority(self):
        [pod] = of_kind(rendered(by_name("secrets")), "Pod", "test")
        arguments = pod["spec"]["containers"][0]["args"]
        self.assertEqual(arguments[:3], ["probe", "wss://live.example.com/ws", "news.probe"])
        for option, file in (("--token-file", "test.token"), ("--ca", "test.ca")):
            self.assertIn(f"{option}=/run/secrets/tailwater/{file}", arguments)
            paths = [item["path"] for source in pod["spec"]["volumes"][1]["projected"]["sources"] for kind in source.values() for item in kind["items"]]
            self.assertIn(file, paths)

    def test_the_job_that_provides_streams_has_a_configuration_of_its_own(self):
        both = dict(configurations(rendered(by_name("production"))))
        self.assertIn("manage = false", both["live-tailwater"])
        self.assertIn("manage = true", both["live-tailwater-provision"])
        [job] = of_kind(rendered(by_name("production")), "Job", "provision")
        sources = job["spec"]["template"]["spec"]["volumes"][1]["projected"]["sources"]
        named = {source["secret"]["items"][0]["path"]: source["secret"]["name"] for source in sources}
        self.assertEqual(named["nats.credentials_file"], "tailwater-provision")

    def test_the_notes_say_where_clients_connect(self):
        for name, words in (
            ("try", ["ws://127.0.0.1:8080/ws", "helm --namespace rooms test live", "nats://live-tailwater-nats.rooms.svc:4222"]),
            ("production", ["wss://live.example.com/ws", "3 to 20 edges"]),
            ("gateway", ["/realtime/ws"]),
        ):
            for version in HELMS:
                for word in words:
                    self.assertIn(word, notes(by_name(name), version))


if __name__ == "__main__":
    unittest.main()
