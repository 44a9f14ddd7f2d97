/** What shells need in order to ask `__complete`. Written for the shells' own means: no completion package has to be there. */

export type Shell = "bash" | "zsh" | "fish" | "powershell" | "kubectl";

/** @param program the executable's name: what a script is for. */
export const completionScripts: Readonly<Record<Shell, (program: string) => string>> = {
  bash: (program) => `# bash completion for ${program}
${functionOf(program)}() {
  local word rest=$COMP_LINE words=() directive=4 line typed strip i
  # bash also takes words apart at = and :, which stand in flags and in names of contexts.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ \${#words[@]} -gt 0 && -n $rest && $rest != [[:space:]]* ]]; then
      words[\${#words[@]}-1]+=$word
    else
      words+=("$word")
      rest=\${rest#"\${rest%%[![:space:]]*}"}
    fi
    rest=\${rest#"$word"}
  done
  word=\${words[\${#words[@]}-1]}
  typed=$word
  [[ $word == -*=* ]] && typed=\${word#*=}
  line=\${COMP_WORDS[COMP_CWORD]}
  [[ $line == [=:] ]] && line=
  strip=\${typed%"$line"}
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ $line == :* ]]; then
      directive=\${line#:}
    elif [[ $line == "$typed"* ]]; then
      line=\${line%%$'\\t'*}
      line=\${line#"$strip"}
      # bash inserts it as it is: a name must not become a command.
      [[ $line == *[!A-Za-z0-9_.,:=@%/+-]* ]] && printf -v line %q "$line"
      COMPREPLY+=("$line")
    fi
  done < <("\${words[0]/#\\~/$HOME}" __complete "\${words[@]:1}" 2>/dev/null)
  type compopt &>/dev/null || return 0 # bash 3
  ((directive & 2)) && compopt -o nospace
  ((directive & 32)) && compopt -o nosort 2>/dev/null
  ((directive & 16)) && compopt -o dirnames
  ((directive & 20)) || compopt -o default
  return 0
}
complete -F ${functionOf(program)} ${program}
`,
  zsh: (program) => `#compdef ${program}
# zsh completion for ${program}
${functionOf(program)}() {
  local line value directive
  local -a lines candidates options
  lines=("\${(@f)$(\${(Q)words[1]/#\\~/$HOME} __complete "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  directive=\${lines[-1]#:}
  [[ $directive == <-> ]] || return 1
  for line in "\${(@)lines[1,-2]}"; do
    value=\${line%%$'\\t'*}
    value=\${value//:/\\\\:}
    [[ $line == *$'\\t'* ]] && value+=:\${line#*$'\\t'}
    candidates+=("$value")
  done
  ((directive & 2)) && options+=(-S '')
  [[ \${words[CURRENT]} == -*=* ]] && compset -P '*='
  if ((directive & 32)); then
    _describe -V 'completions' candidates "\${options[@]}" && return 0
  else
    _describe 'completions' candidates "\${options[@]}" && return 0
  fi
  ((directive & 16)) && { _files -/; return }
  ((directive & 4)) || _files
}
# Sourced, or the first call of a file in fpath.
if [[ $funcstack[1] == ${functionOf(program)} ]]; then
  ${functionOf(program)} "$@"
else
  compdef ${functionOf(program)} ${program}
fi
`,
  fish: (program) => `# fish completion for ${program}
function ${functionOf(program)}
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    set -l lines ($program __complete $words[2..-1] "$current" 2>/dev/null)
    test (count $lines) -gt 0; or return
    set -l directive (string replace : '' -- $lines[-1])
    set -l before (string match -r -- '^-[^=]*=' $current)
    for line in $lines[1..-2]
        echo -- "$before$line"
    end
    test (count $lines) -eq 1; or return
    if test (math "bitand($directive, 16)") -gt 0
        __fish_complete_directories $current
    else if test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path $current
    end
end
complete -c ${program} -e
complete -k -c ${program} -f -a '(${functionOf(program)})'
`,
  powershell: (program) => `# PowerShell completion for ${program}
Register-ArgumentCompleter -Native -CommandName '${program}' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.StartOffset -lt $cursorPosition } | ForEach-Object { "$_" })
    $rest = @($words | Select-Object -Skip 1)
    # Before PowerShell 7.3 an empty argument is lost on the way, unless it is quoted twice.
    if ($wordToComplete -eq '') { $rest += if ($PSVersionTable.PSVersion -ge [version]'7.3') { '' } else { '""' } }
    $lines = @(& $words[0] __complete @rest 2>$null)
    $before = if ($wordToComplete -match '^(-[^=]*=)') { $Matches[1] } else { '' }
    $lines | Where-Object { $_ -notmatch '^:\\d+$' } | ForEach-Object {
        $value, $what = $_ -split "\`t", 2
        if (-not $what) { $what = $value }
        $text = "$before$value"
        if ($text -match '[^\\w.:=@%/+-]') { $text = "'" + $text.Replace("'", "''") + "'" }
        [System.Management.Automation.CompletionResult]::new($text, $value, 'ParameterValue', $what)
    }
}
`,
  kubectl: () => `#!/bin/sh
# kubectl runs this for the completion of "kubectl kaa-backup"; it must be called kubectl_complete-kaa_backup, in a folder of PATH.
exec kubectl kaa-backup __complete "$@"
`,
};

function functionOf(program: string): string {
  return `_${program.replaceAll(/[^A-Za-z0-9]/g, "_")}_complete`;
}
