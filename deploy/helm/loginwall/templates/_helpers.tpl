{{- define "loginwall.name" -}}
{{- contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "loginwall.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "loginwall.metadata" -}}
name: {{ include "loginwall.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "loginwall.selector" . | nindent 2 }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* The wall's file: what the values say, with what a pod needs where they say nothing. */}}
{{- define "loginwall.config" -}}
{{- $ours := dict "ops_listen" ":9470" "session" (dict "key_file" "/secrets/session_key") "timeouts" (dict "drain_delay" "5s") }}
{{- if not (or .Values.config.store .Values.config.store_file) }}
{{- $ours = merge $ours (.Values.postgres | ternary (dict "store_file" "/secrets/store") (dict "store" "sqlite:/data/loginwall.db")) }}
{{- end }}
{{- merge (deepCopy .Values.config) $ours | toYaml }}
{{- end }}
