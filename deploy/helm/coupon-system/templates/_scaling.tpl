{{/* Up at once, for a rush begins at once; down slowly, for it comes in waves and each stop drains. */}}
{{- define "coupon-system.scalingBehavior" -}}
behavior:
  scaleUp:
    stabilizationWindowSeconds: 0
    policies:
      - {type: Percent, value: 200, periodSeconds: 15}
      - {type: Pods, value: 4, periodSeconds: 15}
    selectPolicy: Max
  scaleDown:
    stabilizationWindowSeconds: 300
    policies:
      - {type: Percent, value: 25, periodSeconds: 60}
{{- end -}}

{{- define "coupon-system.openings" -}}
{{- $replicas := .replicas }}
{{- range .root.Values.openings }}
- type: cron
  metadata:
    timezone: {{ .timezone | quote }}
    start: {{ .start | quote }}
    end: {{ .end | quote }}
    desiredReplicas: {{ index . $replicas | quote }}
{{- end }}
{{- end -}}
