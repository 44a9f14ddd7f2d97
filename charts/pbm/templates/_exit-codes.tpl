{{/* Exit codes after which trying again cannot help, from the table in src/base/errors.ts. Generated: test/chart.test.ts. */}}
{{- define "pbm.finalExitCodes" -}}
1, 2, 3, 4, 5, 7, 12, 14, 16, 18, 20
{{- end -}}
