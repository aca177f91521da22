{{- /* Values that would give resources which are accepted and do not work. Each is refused with a sentence. */ -}}
{{- define "tailwater.checks" -}}
{{- $config := .Values.config -}}

{{- if not $config.namespace -}}
{{- fail "config.namespace is empty: an edge without a namespace has no channels and does not start; name at least one" -}}
{{- end -}}

{{- if .Values.nats.enabled -}}
{{- if dig "nats" "url" "" $config -}}
{{- fail "nats.enabled brings a NATS of its own: leave config.nats.url empty, or nats.enabled false" -}}
{{- end -}}
{{- range $name, $stream := $config.stream -}}
{{- if gt (int (default 1 $stream.replicas)) 1 -}}
{{- fail (printf "config.stream.%s.replicas is %d: the NATS of nats.enabled is one server and holds one copy" $name (int $stream.replicas)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.provision.enabled -}}
{{- fail "provision.enabled: its Job runs before the install, when the NATS of nats.enabled is not there yet; edges create their streams by themselves" -}}
{{- end -}}
{{- else if not (dig "nats" "url" "" $config) -}}
{{- fail "config.nats.url is empty: name your NATS servers, or set nats.enabled to try things out" -}}
{{- end -}}

{{- $needed := include "tailwater.drainSeconds" . | int -}}
{{- $grace := include "tailwater.graceSeconds" . | int -}}
{{- if lt $grace $needed -}}
{{- $drain := $config.drain -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but the edge may need %d seconds to leave: config.drain has %d + %d + %d (linger, window, timeout), and 5 more to end; raise it, or leave it empty" $grace $needed (int $drain.linger_secs) (int $drain.window_secs) (int $drain.timeout_secs)) -}}
{{- end -}}

{{- range $holder, $values := dict "config" $config "provision.config" .Values.provision.config -}}
{{- range $path := list "admin.token" "telemetry.otlp_headers" "nats.password" "nats.token" "nats.nkey_seed" -}}
{{- $parts := splitList "." $path -}}
{{- if dig (index $parts 0) (index $parts 1) "" $values -}}
{{- fail (include "tailwater.secretSentence" (printf "%s.%s" $holder $path)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $issuer := dig "identity" "issuer" dict $values -}}
{{- if $issuer.hmac_secret -}}
{{- fail (include "tailwater.secretSentence" (printf "%s.identity.issuer.%s.hmac_secret" $holder $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if and (hasPrefix "0" (toString .Values.rollingUpdate.maxSurge)) (hasPrefix "0" (toString .Values.rollingUpdate.maxUnavailable)) -}}
{{- fail "rollingUpdate.maxSurge and rollingUpdate.maxUnavailable are both 0: no edge could ever be replaced" -}}
{{- end -}}

{{- range .Values.env -}}
{{- if hasPrefix "TAILWATER_" .name -}}
{{- fail (printf "env: %s: keys of the edge stand in config alone, where the chart sees them" .name) -}}
{{- end -}}
{{- end -}}

{{- range $key, $address := dict "config.listen" $config.listen "config.admin.listen" $config.admin.listen -}}
{{- $port := include "tailwater.port" $address | int -}}
{{- if or (lt $port 1) (gt $port 65535) -}}
{{- fail (printf "%s is %s: the container's port is taken from it; end it with a port of 1 to 65535, such as 0.0.0.0:8080" $key $address) -}}
{{- end -}}
{{- end -}}
{{- $port := include "tailwater.port" $config.listen -}}
{{- $admin := include "tailwater.port" $config.admin.listen -}}
{{- if eq $port $admin -}}
{{- fail (printf "config.listen and config.admin.listen have the same port, %s" $port) -}}
{{- end -}}
{{- if regexMatch "^(127\\.|localhost|\\[::1\\])" $config.admin.listen -}}
{{- fail (printf "config.admin.listen is %s: the kubelet cannot probe the loopback; use 0.0.0.0 or [::]" $config.admin.listen) -}}
{{- end -}}
{{- if regexMatch "^(127\\.|localhost|\\[::1\\])" $config.listen -}}
{{- fail (printf "config.listen is %s: nobody outside the pod reaches the loopback; use 0.0.0.0 or [::]" $config.listen) -}}
{{- end -}}

{{- if or .Values.ingress.enabled .Values.httpRoute.enabled -}}
{{- if not (dig "proxy" "trusted" "" $config) -}}
{{- fail "config.proxy.trusted is empty: behind an Ingress or HTTPRoute all clients would share the limits of one address; name the addresses that the balancer connects from" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts is empty: name at least one host" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: name the gateway that the route hangs on" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (eq .Values.balancer "alb") -}}
{{- fail "balancer alb sets an Ingress only: set the idle time-out on the load balancer of your Gateway, and leave balancer empty" -}}
{{- end -}}
{{- if and (eq .Values.balancer "alb") .Values.networkPolicy.enabled -}}
{{- if not (contains "ipBlock" (toJson .Values.networkPolicy.admin.from)) -}}
{{- fail "balancer alb asks the admin port whether an edge is ready, from addresses that are no pods: name its subnets in networkPolicy.admin.from, as an ipBlock" -}}
{{- end -}}
{{- end -}}

{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled: every edge would be counted twice; enable one of them" -}}
{{- end -}}
{{- $token := dig "admin" "token_file" "" $config -}}
{{- $mayRead := or (dig "admin" "open_metrics" false $config) (and (kindIs "map" $token) (hasKey $token "existingSecret")) -}}
{{- if and (or .Values.serviceMonitor.enabled .Values.podMonitor.enabled) (not $mayRead) -}}
{{- fail "serviceMonitor or podMonitor: Prometheus may not read the metrics; set config.admin.token_file: {existingSecret: NAME, key: KEY}, or config.admin.open_metrics: true if everybody who reaches the admin port may" -}}
{{- end -}}

{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- if lt (int .maxReplicas) (int .minReplicas) -}}
{{- fail (printf "autoscaling.maxReplicas is %d, which is less than autoscaling.minReplicas, %d" (int .maxReplicas) (int .minReplicas)) -}}
{{- end -}}
{{- if not (or .targetCPU .targetConnections) -}}
{{- fail "autoscaling looks at nothing: set autoscaling.targetCPU or autoscaling.targetConnections" -}}
{{- end -}}
{{- if and .targetCPU (not (dig "requests" "cpu" "" $.Values.resources)) -}}
{{- fail "autoscaling.targetCPU is a share of resources.requests.cpu, which is empty: set it" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tailwater.secretSentence" -}}
{{- $path := . -}}
{{- printf "%s would stand in a ConfigMap, which is no place for a secret: put it into a Secret, and write %s_file: {existingSecret: NAME, key: KEY}" $path $path -}}
{{- end }}
