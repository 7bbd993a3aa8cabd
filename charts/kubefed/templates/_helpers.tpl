{{/* Labels of a component: call with (dict "component" NAME). */}}
{{- define "kubefed.labels" -}}
app.kubernetes.io/part-of: federated-cluster
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Annotations of everything in the control plane. */}}
{{- define "kubefed.annotations" -}}
federation.alpha.kubernetes.io/federation-name: {{ .Values.federationName }}
{{- end }}

{{- define "kubefed.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What all pods share. */}}
{{- define "kubefed.podSpec" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kubefed.env" -}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end }}
