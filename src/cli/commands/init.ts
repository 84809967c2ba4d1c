import type { Command } from "../command.ts";
import { readCredential } from "../credentials.ts";
import { ensureKeyFile } from "../key-file.ts";
import { credentialSources, fromCredentialOptions } from "../options.ts";

export const command: Command = {
  usage: "init",
  summary: "Create a new repository",
  options: {
    "copy-parameters-from": {
      type: "string",
      requiresArg: true,
      describe: "repository to cut alike, so that copies and backups share what they share",
    },
    ...fromCredentialOptions,
  },
  examples: [
    ["-r /mnt/backup/repo init", "asks for a password"],
    [
      "-r /mnt/backup/repo init --key-file /etc/ashlar/key",
      "for unattended hosts; the file is made if it does not exist",
    ],
    [
      "-r sftp://nas/backup init --copy-parameters-from /srv/backup",
      "a second repository, for `ashlar copy` and `backup -r A -r B`",
    ],
  ],
  exitCodes: { 14: "there is a repository already" },
  async run({ host, output, signal, repositories }, args) {
    const sources = credentialSources(args);
    const hasPassword = (sources.passwordFile ?? sources.passwordCommand) !== undefined;
    const keyFile = sources.keyFile ?? (hasPassword ? undefined : host.env["ASHLAR_KEY_FILE"]);
    const location = args.text("copy-parameters-from");
    const like =
      location === undefined
        ? undefined
        : await repositories.open({
            location,
            sources: credentialSources(args, "from-"),
            variables: "ASHLAR_FROM_",
          });
    const password = keyFile
      ? undefined
      : await readCredential(host, sources, { signal, confirm: true });
    const repository = await repositories.create(async () => {
      if (password !== undefined) return password;
      // Not before the storage can be reached: what it refuses shall leave no key to wonder about.
      if (keyFile) await ensureKeyFile(keyFile, output);
      return readCredential(host, sources, { signal });
    }, like);
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
