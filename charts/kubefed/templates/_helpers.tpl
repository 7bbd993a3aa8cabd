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

{{/* What all pods share: as few rights as they can work with. */}}
{{- define "kubefed.podSpec" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
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

{{/* The rights of a container that listens on no port below 1024. */}}
{{- define "kubefed.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The rights of the load balancer: an added capability reaches only processes of root. */}}
{{- define "kubefed.ingressSecurity" -}}
{{- if or (lt (int .Values.ingress.httpPort) 1024) (lt (int .Values.ingress.httpsPort) 1024) -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsUser: 0
runAsNonRoot: false
capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
{{- else -}}
{{ include "kubefed.containerSecurity" . }}
{{- end }}
{{- end }}

{{/* 443 where a load balancer serves it; behind node ports one that needs no privilege. */}}
{{- define "kubefed.servicePort" -}}
{{ if eq .Values.apiserver.service.type "NodePort" }}8443{{ else }}443{{ end }}
{{- end }}

{{/* What the load balancer writes into the status of Ingresses. */}}
{{- define "kubefed.published" -}}
{{- if .Values.ingress.publishAddresses -}}
{{ join "," .Values.ingress.publishAddresses }}
{{- else if eq (int .Values.ingress.httpPort) 80 -}}
$(POD_IP)
{{- else -}}
$(POD_IP):{{ .Values.ingress.httpPort }}
{{- end }}
{{- end }}
