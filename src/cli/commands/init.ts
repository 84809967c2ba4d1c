import type { Command } from "../command.ts";
import { readCredential } from "../credentials.ts";
import { ensureKeyFile } from "../key-file.ts";
import { credentialSources } from "../options.ts";

export const command: Command = {
  usage: "init",
  summary: "Create a new repository",
  examples: [
    ["-r /mnt/backup/repo init", "asks for a password"],
    [
      "-r /mnt/backup/repo init --key-file /etc/ashlar/key",
      "for unattended hosts; the file is made if it does not exist",
    ],
  ],
  exitCodes: { 14: "there is a repository already" },
  async run({ host, output, signal, repositories }, args) {
    const sources = credentialSources(args);
    const hasPassword = (sources.passwordFile ?? sources.passwordCommand) !== undefined;
    const keyFile = sources.keyFile ?? (hasPassword ? undefined : host.env["ASHLAR_KEY_FILE"]);
    if (keyFile !== undefined && keyFile !== "") await ensureKeyFile(keyFile, output);
    const credential = await readCredential(host, sources, { signal, confirm: true });
    const repository = await repositories.create(credential);
    const fields = {
      message_type: "initialized",
      id: repository.idHex,
      repository: repository.storage.location,
    };
    if (output.json) output.document(fields);
    output.line(`Created repository ${fields.id.slice(0, 10)} at ${fields.repository}`);
    output.line();
    output.line("Without its password or key file nobody can read it: a lost key is lost data.");
    output.line("Make a second key now and keep it elsewhere:");
    output.line(`  ashlar -r ${fields.repository} key add --new-key-file /safe/place/ashlar.key`);
    return 0;
  },
};
