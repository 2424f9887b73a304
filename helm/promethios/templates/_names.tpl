{{- define "promethios.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a selector selects by; takes (list context component) */}}
{{- define "promethios.selector" -}}
{{- $top := index . 0 -}}
app.kubernetes.io/name: promethios
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "promethios.labels" -}}
{{- $top := index . 0 -}}
{{ include "promethios.selector" . }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: promethios
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version }}
{{- with $top.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image's reference; takes (list context image) */}}
{{- define "promethios.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository (default (index . 0).Chart.AppVersion $image.tag) }}
{{- end -}}
{{- end -}}

{{- define "promethios.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "promethios.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* Whether the engine is none but stands in front of others; empty for no */}}
{{- define "promethios.isWrapped" -}}
{{- if or .Values.engine.upstream.url .Values.engine.experimentConfigMap.name -}}
true
{{- end -}}
{{- end -}}

{{/* URL of the hub that the engine works with; empty for none */}}
{{- define "promethios.hubUrl" -}}
{{- if .Values.hub.enabled -}}
http://{{ include "promethios.fullname" . }}-hub:8080
{{- else -}}
{{ .Values.hub.url }}
{{- end -}}
{{- end -}}

{{/* The model that a request names */}}
{{- define "promethios.askedModel" -}}
{{ default .Values.engine.servedModelName .Values.engine.upstream.model }}
{{- end -}}
