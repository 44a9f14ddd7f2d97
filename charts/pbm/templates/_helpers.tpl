{{/* Beginning of all names. A CronJob's may have 52 characters; Jobs get a hash behind it. */}}
{{- define "pbm.fullname" -}}
{{- $default := ternary .Release.Name (printf "%s-pbm" .Release.Name) (contains "pbm" .Release.Name) -}}
{{- default $default .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* `schedule` finds the CronJob by name and component: src/schedule.ts. */}}
{{- define "pbm.selectorLabels" -}}
app.kubernetes.io/name: pbm
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pbm.labels" -}}
{{ include "pbm.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pbm.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "pbm.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ required (printf "%sserviceAccount.name is missing: serviceAccount.create is false" (include "pbm.valuePrefix" .)) .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* "pbm." when this chart is the dependency of another: the way in which its user writes the value. */}}
{{- define "pbm.valuePrefix" -}}
{{- if not .Chart.IsRoot }}{{ .Chart.Name }}.{{ end -}}
{{- end -}}

{{- define "pbm.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end -}}
{{- end -}}

{{/* Refuses a restore that lacks a value, by the name of that value. */}}
{{- define "pbm.checkRestore" -}}
{{- $prefix := include "pbm.valuePrefix" . -}}
{{- $missing := list -}}
{{- range $name, $form := dict "backupDate" "DD-MM-YYYY-hh-mm-ss, the date in the snapshot's name" "sourceNamespace" "the namespace that the snapshot was taken in" -}}
{{- if not (get $.Values.config.restore $name) -}}
{{- $missing = append $missing (printf "%sconfig.restore.%s is missing (%s)" $prefix $name $form) -}}
{{- end -}}
{{- end -}}
{{- if $missing -}}
{{- fail (printf "%sconfig.restore.run is true, but %s" $prefix (join " and " $missing)) -}}
{{- end -}}
{{- end -}}

{{/* Flags that create and restore share. */}}
{{- define "pbm.commonArgs" -}}
- --namespace={{ .Release.Namespace }}
- --report
{{- with .Values.config.releaseNamePrefix }}
- --release-name-prefix={{ . }}
{{- end }}
{{- end -}}

{{/* The spec of a pod that runs the program. Called with (dict "root" $ "args" ARGS), ARGS being YAML. */}}
{{- define "pbm.podSpec" -}}
{{- $values := .root.Values -}}
{{- $config := $values.config -}}
restartPolicy: Never
serviceAccountName: {{ include "pbm.serviceAccountName" .root }}
automountServiceAccountToken: true
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile:
    type: RuntimeDefault
containers:
  - name: pbm
    image: {{ include "pbm.image" .root }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    command: [kubectl-kaa_backup]
    args:
      {{- .args | nindent 6 }}
    env:
      - name: AWS_REGION
        value: {{ $config.s3.region | quote }}
      {{- with $config.s3.endpoint }}
      - name: AWS_ENDPOINT_URL
        value: {{ . | quote }}
      {{- end }}
      {{- if $config.s3.existingSecret }}
      {{- include "pbm.secretEnv" (dict "name" "AWS_ACCESS_KEY_ID" "secret" $config.s3.existingSecret "key" $config.s3.accessKeyIdKey) | nindent 6 }}
      {{- include "pbm.secretEnv" (dict "name" "AWS_SECRET_ACCESS_KEY" "secret" $config.s3.existingSecret "key" $config.s3.secretAccessKeyKey) | nindent 6 }}
      {{- end }}
      {{- if $config.vault.existingSecret }}
      {{- include "pbm.secretEnv" (dict "name" "VAULT_TOKEN" "secret" $config.vault.existingSecret "key" $config.vault.tokenKey) | nindent 6 }}
      {{- end }}
      {{- if $config.opendistro.existingSecret }}
      {{- include "pbm.secretEnv" (dict "name" "OPENDISTRO_USERNAME" "secret" $config.opendistro.existingSecret "key" $config.opendistro.usernameKey) | nindent 6 }}
      {{- include "pbm.secretEnv" (dict "name" "OPENDISTRO_PASSWORD" "secret" $config.opendistro.existingSecret "key" $config.opendistro.passwordKey) | nindent 6 }}
      {{- end }}
      {{- with $config.opendistro.endpoint }}
      - name: OPENDISTRO_S3_ENDPOINT
        value: {{ . | quote }}
      {{- end }}
      # What the Events of --report are about.
      {{- range $name, $path := dict "JOB_NAME" "metadata.labels['batch.kubernetes.io/job-name']" "JOB_UID" "metadata.labels['batch.kubernetes.io/controller-uid']" "POD_NAME" "metadata.name" "POD_UID" "metadata.uid" }}
      - name: KAA_BACKUP_{{ $name }}
        valueFrom:
          fieldRef:
            fieldPath: {{ $path }}
      {{- end }}
      {{- with $values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    resources:
      {{- toYaml $values.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      {{- with $values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- with $values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "pbm.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end -}}

{{/* A pod that was evicted or drained is no failure. Exit codes that another try cannot change end the Job. */}}
{{- define "pbm.podFailurePolicy" -}}
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
    - action: FailJob
      onExitCodes:
        containerName: pbm
        operator: In
        values: [{{ include "pbm.finalExitCodes" . }}]
{{- end -}}

{{- define "pbm.podMetadata" -}}
labels:
  {{- include "pbm.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
