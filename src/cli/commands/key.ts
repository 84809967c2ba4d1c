import type { Command, CommandArguments, CommandContext } from "../command.ts";
import { readNewCredential } from "../credentials.ts";
import { ensureKeyFile } from "../key-file.ts";
import { credentialSources } from "../options.ts";
import { formatTable, formatTime } from "../text.ts";

const newCredentialOptions = {
  "new-password-file": {
    type: "string",
    requiresArg: true,
    describe: "file that holds the new password",
  },
  "new-password-command": {
    type: "string",
    requiresArg: true,
    describe: "shell command that prints the new password",
  },
  "new-key-file": {
    type: "string",
    requiresArg: true,
    describe: "key file; made if it does not exist",
  },
} as const;

async function newCredential(context: CommandContext, args: CommandArguments) {
  const sources = credentialSources(args, "new-");
  if (sources.keyFile !== undefined) await ensureKeyFile(sources.keyFile, context.output);
  return readNewCredential(context.host, sources, context.signal);
}

const add: Command = {
  usage: "add",
  summary: "Let another password or key file in",
  options: {
    ...newCredentialOptions,
    role: {
      choices: ["full", "backup"] as const,
      default: "full",
      describe: "backup can only add backups, and read nothing",
    },
    label: {
      type: "string",
      requiresArg: true,
      describe: "whose key it is; user@host unless given",
    },
  },
  examples: [
    ["key add --new-key-file /safe/place/ashlar.key", "a second full key"],
    [
      "key add --role backup --new-key-file web1.key --label web1",
      "a key for a host that must not read backups",
    ],
  ],
  async run(context, args) {
    const repository = await context.openRepository();
    const { addKey } = await import("../../repo/index.ts");
    const credential = await newCredential(context, args);
    const role = args.text("role") === "backup" ? "backup" : "full";
    const id = await addKey(repository, { role, credential, label: args.text("label") });
    if (context.output.json) context.output.document({ message_type: "key_added", id, role });
    context.output.line(`Added ${role} key ${id.slice(0, 8)}`);
    return 0;
  },
};

const list: Command = {
  usage: "list",
  summary: "List keys",
  examples: [["key list", "the key in use has a star"]],
  async run({ output, openRepository }) {
    const repository = await openRepository();
    const { listKeys } = await import("../../repo/index.ts");
    const keys = await listKeys(repository);
    if (output.json) {
      output.document(keys.map((key) => ({ ...key, short_id: key.id.slice(0, 8) })));
      return 0;
    }
    const rows = keys.map((key) => [
      `${key.current ? "*" : " "}${key.id.slice(0, 8)}`,
      key.removed ? "removed" : key.role,
      key.label,
      formatTime(new Date(key.created)),
    ]);
    for (const line of formatTable([" ID", "Role", "Label", "Created"], rows)) output.answer(line);
    return 0;
  },
};

const remove: Command = {
  usage: "remove <id>",
  summary: "Take a key's slot away (what its holder has copied stays readable for him)",
  positionals: { id: { type: "string", describe: "as `key list` shows it" } },
  examples: [["key remove 3f9a02c1", "the last full key cannot be removed"]],
  async run({ output, openRepository }, args) {
    const repository = await openRepository();
    const { removeKey } = await import("../../repo/index.ts");
    const key = await removeKey(repository, args.word("id"));
    if (output.json) output.document({ message_type: "key_removed", id: key.id });
    output.line(`Removed ${key.role} key ${key.id.slice(0, 8)} (${key.label})`);
    output.line(
      "What its holder has read or copied before is not revoked: docs/security.md says what to do.",
    );
    return 0;
  },
};

const passwd: Command = {
  usage: "passwd",
  summary: "Change the password or key file of the key in use",
  options: newCredentialOptions,
  examples: [
    ["key passwd --new-password-file new.txt", "the old password opens nothing afterwards"],
  ],
  async run(context, args) {
    const repository = await context.openRepository();
    const { changeCredential } = await import("../../repo/index.ts");
    await changeCredential(repository, await newCredential(context, args));
    if (context.output.json)
      context.output.document({ message_type: "key_changed", id: repository.writer.writerId });
    context.output.line("Changed");
    return 0;
  },
};

export const command: Command = {
  usage: "key",
  summary: "Add, list, remove and change keys",
  subcommands: [add, list, remove, passwd],
  examples: [...add.examples, ...list.examples],
};
