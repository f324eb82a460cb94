{{/* One announcer runs on a node, so one release in a cluster: its name is fixed. */}}
{{- define "announcer.name" -}}announcer{{- end }}

{{/* What pods are found by. Fixed for good: a DaemonSet's selector cannot change. */}}
{{- define "announcer.selector" -}}
app.kubernetes.io/name: {{ include "announcer.name" . }}
{{- end }}

{{- define "announcer.labels" -}}
{{ include "announcer.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The digest wins: it is what was tested. */}}
{{- define "announcer.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Where it serves metrics and health: "" for nowhere. */}}
{{- define "announcer.httpAddress" -}}
{{- if hasKey .Values.settings "httpAddress" -}}
{{ .Values.settings.httpAddress }}
{{- else -}}
0.0.0.0:9842
{{- end -}}
{{- end }}

{{- define "announcer.httpPort" -}}
{{ regexFind "[0-9]+$" (include "announcer.httpAddress" .) }}
{{- end }}

{{/* A probe without a host goes to the node's address, where a server that listens on one
address only, as that of loopback, would not hear it. */}}
{{- define "announcer.httpGet" -}}
{{- $host := include "announcer.httpAddress" .root | regexFind "^.*:" | trimSuffix ":" | trimPrefix "[" | trimSuffix "]" -}}
path: {{ .path }}
port: metrics
{{- if not (has $host (list "0.0.0.0" "::")) }}
host: {{ $host | quote }}
{{- end }}
{{- end }}
