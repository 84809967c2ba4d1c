import { UsageError } from "../../../errors.ts";
import { parseBytes } from "../../../sizes.ts";
import type { Command, CommandArguments, CommandContext } from "../../command.ts";
import { readUserPassword } from "../../user-password.ts";

export const rest: Command = {
  usage: "rest [folder]",
  summary: "Let other hosts store in repositories below a folder, by restic's REST protocol",
  positionals: { folder: { type: "string", describe: "holds the repositories" } },
  options: {
    users: {
      type: "string",
      requiresArg: true,
      describe: "file of users; --add-user makes it",
    },
    "add-user": {
      type: "string",
      requiresArg: true,
      describe: "add or change this user and end; the password is read from standard input",
    },
    "remove-user": { type: "string", requiresArg: true, describe: "remove this user and end" },
    role: {
      choices: ["append", "full"] as const,
      default: "append",
      describe: "of the added user: append puts new objects, full also deletes",
    },
    path: {
      type: "string",
      array: true,
      requiresArg: true,
      nargs: 1,
      describe: "repository of the added user, below the folder (repeatable); NAME unless given",
    },
    "read-data": {
      type: "boolean",
      describe: "the added append user may read packs too: to restore, or to use restic",
    },
    quota: {
      type: "string",
      requiresArg: true,
      describe: "the added user puts nothing more once a repository has this size (500G)",
    },
    "request-rate": {
      type: "number",
      requiresArg: true,
      describe: "requests a second that the added user may make",
    },
    "byte-rate": {
      type: "string",
      requiresArg: true,
      describe: "bytes a second that the added user may send and fetch (10M)",
    },
  },
  examples: [
    [
      "serve rest --users users.json --add-user web1 --path hosts --quota 500G < password",
      "a host that may only add backups",
    ],
  ],
  async run(context, args) {
    const users = args.text("users");
    if (users === undefined)
      throw new UsageError("Cannot serve: no file of users was named", {
        hint: "Give --users FILE; --add-user NAME makes it",
      });
    const added = args.text("add-user");
    if (added !== undefined) return addUser(context, args, users, added);
    const removed = args.text("remove-user");
    if (removed !== undefined) return dropUser(context, users, removed);
    throw new UsageError("Cannot serve: neither --add-user nor --remove-user was given");
  },
};

async function addUser(
  { host, output, signal }: CommandContext,
  args: CommandArguments,
  file: string,
  name: string,
): Promise<number> {
  const { hashPassword, putUser } = await import("../../../serve/rest/index.ts");
  const { systemRandom } = await import("../../../repo/index.ts");
  const quota = args.text("quota");
  const byteRate = args.text("byte-rate");
  const requestRate = args.count("request-rate");
  const paths = args.texts("path");
  const role = args.text("role") === "full" ? "full" : "append";
  const password = await hashPassword(await readUserPassword(host, signal), (length) =>
    systemRandom.bytes(length),
  );
  const done = await putUser(file, {
    name,
    role,
    repositories: paths.length === 0 ? [name] : paths,
    password,
    ...(args.flag("read-data") ? { readData: true } : {}),
    ...(quota === undefined ? {} : { quotaBytes: parseBytes(quota) }),
    ...(requestRate === undefined ? {} : { requestsPerSecond: requestRate }),
    ...(byteRate === undefined ? {} : { bytesPerSecond: parseBytes(byteRate) }),
  });
  if (output.json) output.document({ message_type: `user_${done}`, name, role });
  output.line(`${done === "added" ? "Added" : "Changed"} ${role} user ${name} in ${file}`);
  return 0;
}

async function dropUser({ output }: CommandContext, file: string, name: string): Promise<number> {
  const { removeUser } = await import("../../../serve/rest/index.ts");
  await removeUser(file, name);
  if (output.json) output.document({ message_type: "user_removed", name });
  output.line(`Removed user ${name} from ${file}: a gateway that runs takes it in on SIGHUP`);
  return 0;
}
