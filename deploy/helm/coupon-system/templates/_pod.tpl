{{/* What all our pods have in common. The jobs have no account: they run before the chart's own is there. */}}
{{- define "coupon-system.podSecurity" -}}
automountServiceAccountToken: false
# With them, a service called "coupon-api" would set COUPON_API_PORT to tcp://…, and no pod would start.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "coupon-system.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "coupon-system.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ .root.Values.topologySpread.acrossNodes }}
    labelSelector:
      matchLabels: {{- include "coupon-system.selector" . | nindent 8 }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ .root.Values.topologySpread.acrossZones }}
    labelSelector:
      matchLabels: {{- include "coupon-system.selector" . | nindent 8 }}
{{- end -}}

{{/* The root file system is read-only: the metrics of the workers, gunicorn's heartbeats and the logs are not. */}}
{{- define "coupon-system.volumeMounts" -}}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: logs, mountPath: /app/logs}
  {{- if .Values.secrets }}
  - {name: secrets, mountPath: /run/secrets/coupon-system, readOnly: true}
  {{- end }}
  {{- range .Values.certificates }}
  - {name: certificates-{{ .name }}, mountPath: /etc/coupon-system/{{ .name }}, readOnly: true}
  {{- end }}
{{- end -}}

{{- define "coupon-system.volumes" -}}
volumes:
  # In memory: on a busy disk gunicorn's heartbeat would wait, and its master would kill a healthy worker.
  - {name: tmp, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
  - {name: logs, emptyDir: {sizeLimit: {{ .Values.logs.volumeSize }}}}
  {{- if .Values.secrets }}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- range $variable, $from := .Values.secrets }}
        - secret: {name: {{ $from.name }}, items: [{key: {{ $from.key | quote }}, path: {{ $variable }}}]}
        {{- end }}
  {{- end }}
  {{- range .Values.certificates }}
  - name: certificates-{{ .name }}
    {{- if .secret }}
    secret: {secretName: {{ .secret }}, defaultMode: 0440}
    {{- else }}
    configMap: {name: {{ .configMap }}}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* The hosts that clients and probes of this cluster name, unless `config` has ALLOWED_HOSTS. */}}
{{- define "coupon-system.allowedHosts" -}}
{{- $service := printf "%s-api" (include "coupon-system.fullname" .) -}}
{{- $names := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) -}}
{{- concat .Values.ingress.hosts $names (list "localhost" "127.0.0.1" "[::1]") | join "," -}}
{{- end -}}

{{/* Settings of every role, in the pods themselves: hooks run before a ConfigMap of this chart is there. */}}
{{- define "coupon-system.environment" -}}
{{- $settings := dict
  "KAFKA_BOOTSTRAP_SERVERS" .Values.kafka.bootstrapServers
  "COUPON_TOPIC" .Values.kafka.topic
  "COUPON_CONSUMER_GROUP_ID" .Values.kafka.consumerGroup
  "COUPON_TOPIC_PARTITIONS" (.Values.kafka.partitions | toString)
  "COUPON_TOPIC_REPLICATION_FACTOR" (.Values.kafka.replicationFactor | toString)
  "COUPON_LOG_MAX_BYTES" (.Values.logs.maxBytes | int64 | toString)
  "COUPON_LOG_BACKUPS" (.Values.logs.backups | toString)
  "ALLOWED_HOSTS" (include "coupon-system.allowedHosts" .)
-}}
{{- range $name, $value := merge (dict) .Values.config $settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- range $name, $from := .Values.secrets }}
- {name: {{ $name }}_FILE, value: /run/secrets/coupon-system/{{ $name }}}
{{- end }}
{{- end -}}
