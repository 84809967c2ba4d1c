/** Scripts for shells; all ask the program itself, which knows its commands and options (yargs answers). */
import { UsageError } from "../../errors.ts";
import type { Command } from "../command.ts";

const scripts: Readonly<Record<string, string>> = {
  bash: `_ashlar_completions() {
  local word="\${COMP_WORDS[COMP_CWORD]}" answers
  mapfile -t answers < <(SHELL=bash ashlar --get-yargs-completions "\${COMP_WORDS[@]}" 2>/dev/null)
  mapfile -t COMPREPLY < <(compgen -W "\${answers[*]}" -- "$word")
}
complete -o bashdefault -o default -F _ashlar_completions ashlar`,
  zsh: `#compdef ashlar
_ashlar_completions() {
  local -a answers
  answers=("\${(@f)$(SHELL=zsh ashlar --get-yargs-completions "\${words[@]}" 2>/dev/null)}")
  if (( \${#answers} )) && [[ -n "\${answers[1]}" ]]; then
    _describe 'values' answers
  else
    _files
  fi
}
if [[ "\${zsh_eval_context[-1]}" == "loadautofunc" ]]; then
  _ashlar_completions "$@"
else
  compdef _ashlar_completions ashlar
fi`,
  fish: `function __ashlar_completions
  SHELL=fish ashlar --get-yargs-completions (commandline -opc) (commandline -ct) 2>/dev/null
end
complete -c ashlar -a '(__ashlar_completions)'`,
};

export const command: Command = {
  usage: "completion <shell>",
  summary: "Print a script that completes commands and options",
  positionals: { shell: { choices: Object.keys(scripts), describe: "which shell's" } },
  examples: [
    ["completion bash > /etc/bash_completion.d/ashlar", "for everybody"],
    ["completion fish > ~/.config/fish/completions/ashlar.fish", "for yourself"],
  ],
  run({ output }, args) {
    const script = scripts[args.word("shell")];
    if (script === undefined)
      throw new UsageError(`Cannot complete for shell "${args.word("shell")}": it is not known`, {
        hint: "One of bash, zsh, fish",
      });
    output.answer(script);
    return Promise.resolve(0);
  },
};
