{{- /* What the pods of this chart have in common: the restricted profile of the Pod Security Standards. */ -}}

{{- define "tailwater.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "tailwater.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Where pods come from and where they may run. */ -}}
{{- define "tailwater.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Volumes of a pod that reads a configuration. Takes a dict of `root`, `configMap` (its name) and `config` (JSON). */ -}}
{{- define "tailwater.volumes" -}}
- name: config
  configMap:
    name: {{ .configMap }}
{{- $sources := include "tailwater.sources" (dict "table" (fromJson .config) "path" list) | fromJson }}
{{- with $sources.items }}
- name: files
  projected:
    defaultMode: 0440
    sources:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Where its container has them. Takes a dict of `root` and `config` (JSON). */ -}}
{{- define "tailwater.volumeMounts" -}}
- name: config
  mountPath: /etc/tailwater
  readOnly: true
{{- $sources := include "tailwater.sources" (dict "table" (fromJson .config) "path" list) | fromJson }}
{{- if $sources.items }}
- name: files
  mountPath: /run/secrets/tailwater
  readOnly: true
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What the container runs, and its variables. */ -}}
{{- define "tailwater.imageFields" -}}
image: {{ include "tailwater.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
