{{- /*
The edge's configuration: `config` of the values as TOML, in which every reference to a Secret or ConfigMap has become
the path where it is mounted. Helm's own `toToml` writes 10000 as 10000.0, which is no whole number for the edge.
*/ -}}

{{- /* Whether a value is a reference to a Secret or ConfigMap: "true" or nothing. */ -}}
{{- define "tailwater.isReference" -}}
{{- if kindIs "map" . -}}
{{- if or (hasKey . "existingSecret") (hasKey . "configMap") -}}true{{- end -}}
{{- end -}}
{{- end }}

{{- /* The configuration with what the chart adds to it, as JSON. */ -}}
{{- define "tailwater.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.nats.enabled -}}
{{- $_ := set $config "nats" (merge (dict "url" (list (printf "nats://%s-nats:4222" (include "tailwater.fullname" .)))) (omit (default dict $config.nats) "url")) -}}
{{- end -}}
{{- toRawJson $config -}}
{{- end }}

{{- /* One table as TOML: its own keys, then the tables in it. Takes a dict of `table`, and `path` (a list). */ -}}
{{- define "tailwater.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table }}
{{- if not (kindIs "invalid" $value) }}
{{- if include "tailwater.isReference" $value }}
{{ $key }} = {{ printf "/run/secrets/tailwater/%s" (join "." (append $path $key)) | toRawJson }}
{{- else if not (kindIs "map" $value) }}
{{ $key }} = {{ include "tailwater.tomlValue" (dict "value" $value "path" (append $path $key)) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if and (kindIs "map" $value) (not (include "tailwater.isReference" $value)) }}
{{- $inner := append $path $key }}
{{- if include "tailwater.needsHeader" $value }}

[{{ join "." $inner }}]
{{- end }}
{{- include "tailwater.toml" (dict "table" $value "path" $inner) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Whether a table has keys of its own, or nothing at all: "true" or nothing. */ -}}
{{- define "tailwater.needsHeader" -}}
{{- $own := not . -}}
{{- range . -}}
{{- if or (not (kindIs "map" .)) (include "tailwater.isReference" .) -}}{{- $own = true -}}{{- end -}}
{{- end -}}
{{- if $own -}}true{{- end -}}
{{- end }}

{{- define "tailwater.tomlValue" -}}
{{- $value := .value -}}
{{- if kindIs "float64" $value -}}
{{- if ne (floor $value) $value -}}
{{- fail (printf "config.%s is %v: it must be a whole number" (join "." .path) $value) -}}
{{- end -}}
{{- printf "%.0f" $value -}}
{{- else -}}
{{- toRawJson $value -}}
{{- end -}}
{{- end }}

{{- /* The whole file. */ -}}
{{- define "tailwater.file" -}}
# Written by the chart from `config` of its values.
{{- include "tailwater.toml" (dict "table" (include "tailwater.config" . | fromJson) "path" list) }}
{{ end }}

{{- /* The file of the provision Job: `provision.config` over `config`. */ -}}
{{- define "tailwater.provisionConfig" -}}
{{- mergeOverwrite (include "tailwater.config" . | fromJson) (deepCopy .Values.provision.config) | toRawJson -}}
{{- end }}

{{- /* All references in a table, as a JSON list of sources of a projected volume, below `items`. Takes as `tailwater.toml`. */ -}}
{{- define "tailwater.sources" -}}
{{- $path := .path -}}
{{- $sources := list -}}
{{- range $key, $value := .table -}}
{{- if include "tailwater.isReference" $value -}}
{{- $items := list (dict "key" $value.key "path" (join "." (append $path $key))) -}}
{{- if hasKey $value "existingSecret" -}}
{{- $sources = append $sources (dict "secret" (dict "name" $value.existingSecret "items" $items)) -}}
{{- else -}}
{{- $sources = append $sources (dict "configMap" (dict "name" $value.configMap "items" $items)) -}}
{{- end -}}
{{- else if kindIs "map" $value -}}
{{- $inner := include "tailwater.sources" (dict "table" $value "path" (append $path $key)) | fromJson -}}
{{- $sources = concat $sources (default list $inner.items) -}}
{{- end -}}
{{- end -}}
{{- dict "items" $sources | toRawJson -}}
{{- end }}

{{- /* The port at the end of an address such as `[::]:8080`. */ -}}
{{- define "tailwater.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end }}

{{- /* The port of a URL. Takes (list url default). */ -}}
{{- define "tailwater.urlPort" -}}
{{- $authority := regexReplaceAll "^[a-z]+://" (trim (index . 0)) "" | splitList "/" | first -}}
{{- regexFind ":[0-9]+$" $authority | trimPrefix ":" | default (index . 1) -}}
{{- end }}

{{- /* The seconds that the edge may need from SIGTERM to its end. */ -}}
{{- define "tailwater.drainSeconds" -}}
{{- $drain := default dict .Values.config.drain -}}
{{- range $key := list "linger_secs" "window_secs" "timeout_secs" -}}
{{- if not (hasKey $drain $key) -}}
{{- fail (printf "config.drain.%s is missing: the time that an edge gets to leave is reckoned from it" $key) -}}
{{- end -}}
{{- end -}}
{{- add (int $drain.linger_secs) (int $drain.window_secs) (int $drain.timeout_secs) 5 -}}
{{- end }}

{{- define "tailwater.graceSeconds" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- include "tailwater.drainSeconds" . -}}
{{- else -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end }}

{{- define "tailwater.minReadySeconds" -}}
{{- if kindIs "invalid" .Values.minReadySeconds -}}
{{- int .Values.config.drain.window_secs -}}
{{- else -}}
{{- int .Values.minReadySeconds -}}
{{- end -}}
{{- end }}

{{- /* `https` or nothing: whether the public listener speaks TLS. */ -}}
{{- define "tailwater.tls" -}}
{{- if dig "tls" "certificate" "" .Values.config -}}https{{- end -}}
{{- end }}
