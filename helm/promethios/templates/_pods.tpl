{{/* Pod and container security as the Pod Security Standard `restricted` demands, and a read-only root */}}
{{- define "promethios.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "promethios.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where a pod runs; takes (list context values) */}}
{{- define "promethios.placement" -}}
{{- $top := index . 0 -}}
{{- $of := index . 1 -}}
serviceAccountName: {{ include "promethios.serviceAccount" $top }}
automountServiceAccountToken: false
# service links would set PROMETHIOS_HUB_PORT and the like
enableServiceLinks: false
{{- with $top.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* A variable from a secret; takes (list name reference) */}}
{{- define "promethios.fromSecret" -}}
{{- $reference := index . 1 -}}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ $reference.name }}, key: {{ $reference.key }}}}
{{- end -}}
