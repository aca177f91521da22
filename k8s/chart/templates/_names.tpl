{{- /* Names and labels. */ -}}

{{- define "tailwater.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- /* Short enough for the longest suffix (`-round-trip`) within 63 characters. */ -}}
{{- define "tailwater.fullname" -}}
{{- $name := include "tailwater.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "tailwater.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "tailwater.fullname" . -}}
{{- else -}}
default
{{- end -}}
{{- end }}

{{- define "tailwater.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end }}

{{- /* What a component's pods are found by; never changes. Takes (list root component). */ -}}
{{- define "tailwater.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "tailwater.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* Takes (list root component). */ -}}
{{- define "tailwater.labels" -}}
{{- $root := index . 0 -}}
{{ include "tailwater.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Takes (list root kind text): the resource in the text, with `merge.<kind>` over it. */ -}}
{{- define "tailwater.resource" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $resource := fromYaml (index . 2) -}}
{{- if hasKey $resource "Error" -}}
{{- fail (printf "%s: %s" $kind $resource.Error) -}}
{{- end -}}
{{- with index $root.Values.merge $kind -}}
{{- $resource = mergeOverwrite $resource (deepCopy .) -}}
{{- end -}}
{{- toYaml $resource -}}
{{- end }}
