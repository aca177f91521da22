{{- /*
What each load balancer has to be told for WebSockets. Tailwater pings every client (25 s), so an idle time-out above that never
strikes; what strikes is a limit on the whole length of a connection, and a health check that does not know of the drain.
*/ -}}

{{- /* Annotations of the Ingress. */ -}}
{{- define "tailwater.ingressAnnotations" -}}
{{- $name := include "tailwater.fullname" . -}}
{{- $tls := include "tailwater.tls" . -}}
{{- if eq .Values.balancer "nginx" -}}
nginx.ingress.kubernetes.io/proxy-read-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-send-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-buffering: "off"
nginx.org/websocket-services: {{ $name }}
nginx.org/proxy-read-timeout: 3600s
nginx.org/proxy-send-timeout: 3600s
nginx.org/proxy-buffering: "False"
{{- if $tls }}
nginx.ingress.kubernetes.io/backend-protocol: HTTPS
nginx.org/ssl-services: {{ $name }}
{{- end }}
{{- else if eq .Values.balancer "alb" -}}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds=3600
alb.ingress.kubernetes.io/target-group-attributes: deregistration_delay.timeout_seconds={{ include "tailwater.graceSeconds" . }}
alb.ingress.kubernetes.io/backend-protocol: {{ ternary "HTTPS" "HTTP" (eq $tls "https") }}
alb.ingress.kubernetes.io/healthcheck-protocol: HTTP
alb.ingress.kubernetes.io/healthcheck-port: {{ include "tailwater.port" .Values.config.admin.listen | quote }}
alb.ingress.kubernetes.io/healthcheck-path: /readyz
alb.ingress.kubernetes.io/healthcheck-interval-seconds: "5"
alb.ingress.kubernetes.io/healthcheck-timeout-seconds: "2"
alb.ingress.kubernetes.io/unhealthy-threshold-count: "2"
alb.ingress.kubernetes.io/healthy-threshold-count: "2"
{{- else if eq .Values.balancer "traefik" -}}
traefik.ingress.kubernetes.io/router.entrypoints: websecure
{{- end -}}
{{- end }}

{{- /* Annotations of the public service. */ -}}
{{- define "tailwater.serviceAnnotations" -}}
{{- $tls := include "tailwater.tls" . -}}
{{- if eq .Values.balancer "gke" -}}
cloud.google.com/neg: '{"ingress": true}'
{{- if .Values.ingress.enabled }}
cloud.google.com/backend-config: {{ dict "default" (include "tailwater.fullname" .) | toJson | quote }}
{{- if $tls }}
cloud.google.com/app-protocols: '{"http": "HTTPS"}'
{{- end }}
{{- end }}
{{- else if and (eq .Values.balancer "traefik") $tls -}}
traefik.ingress.kubernetes.io/service.serversscheme: https
{{- end -}}
{{- end }}
