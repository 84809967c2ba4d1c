import { setTimeout as sleep } from "node:timers/promises";
import { UsageError } from "../../../errors.ts";
import type { GatewayOptions } from "../../../serve/rest/index.ts";
import { parseBytes } from "../../../sizes.ts";
import type { Command, CommandArguments, CommandContext } from "../../command.ts";
import { readUserPassword } from "../../user-password.ts";

const userOptions = {
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
} as const;

export const rest: Command = {
  usage: "rest [folder]",
  summary: "Let other hosts store in repositories below a folder, by restic's REST protocol",
  positionals: { folder: { type: "string", describe: "holds the repositories" } },
  options: {
    users: { type: "string", requiresArg: true, describe: "file of users; --add-user makes it" },
    listen: {
      type: "string",
      requiresArg: true,
      default: "127.0.0.1:8000",
      describe: "address and port",
    },
    "tls-cert": {
      type: "string",
      requiresArg: true,
      describe: "PEM file of the certificate and those above it",
    },
    "tls-key": { type: "string", requiresArg: true, describe: "PEM file of its key" },
    "client-ca": {
      type: "string",
      requiresArg: true,
      describe: "only clients with a certificate of this authority, made out to the user's name",
    },
    "plain-http": {
      type: "boolean",
      describe: "without TLS on an address that is not loopback: passwords go in the clear",
    },
    audit: {
      type: "string",
      requiresArg: true,
      describe: "file to append a line of JSON to for each request; - for standard output",
    },
    ...userOptions,
  },
  examples: [
    [
      "serve rest --users users.json --add-user web1 --path hosts --quota 500G < password",
      "a host that may only add backups",
    ],
    [
      "serve rest /srv/backup --users users.json --listen :8000 --tls-cert c.pem --tls-key k.pem",
      "SIGHUP reads users and certificate anew, SIGTERM finishes what is in flight",
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
    const folder = args.text("folder");
    if (folder === undefined)
      throw new UsageError("Cannot serve: no folder was named", {
        hint: "ashlar serve rest FOLDER --users FILE",
      });
    return serve(context, args, folder, users);
  },
};

async function serve(
  { host, output, signal }: CommandContext,
  args: CommandArguments,
  folder: string,
  usersFile: string,
): Promise<number> {
  const warn = (message: string): void => {
    output.warn(message);
  };
  const { systemRandom } = await import("../../../crypto/index.ts");
  const { serveRest } = await import("../../../serve/rest/index.ts");
  const gateway = await serveRest({
    folder,
    usersFile,
    ...listenOptions(args),
    auditFile: args.text("audit"),
    now: () => host.now(),
    elapsed: () => host.elapsed(),
    random: (length) => systemRandom.bytes(length),
    sleep: (ms) => sleep(ms),
    warn,
  });
  const stopReloading = host.onReload(() => {
    gateway.reload().then(
      () => {
        output.talk("Read users and certificate anew");
      },
      (error: unknown) => {
        warn(`Still using what was read before: ${error instanceof Error ? error.message : ""}`);
      },
    );
  });
  try {
    if (output.json) output.document({ message_type: "serving", url: gateway.url, folder });
    output.talk(`Serving ${folder} at ${gateway.url}`);
    if (!signal.aborted)
      await new Promise((resolve) => {
        signal.addEventListener("abort", resolve);
      });
  } finally {
    stopReloading();
    await gateway.close();
  }
  return 0;
}

function listenOptions(args: CommandArguments): Pick<GatewayOptions, "host" | "port" | "tls"> {
  const listen = args.text("listen") ?? "";
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(listen);
  if (match === null || Number(match[3]) > 65535)
    throw new UsageError(`Cannot listen on ${listen}: not of the form ADDRESS:PORT`, {
      hint: "127.0.0.1:8000, [::1]:8000, or :8000 for all addresses",
    });
  const host = match[1] ?? (match[2] === "" ? "::" : match[2]!);
  const certificate = args.text("tls-cert");
  const key = args.text("tls-key");
  const clientCa = args.text("client-ca");
  if ((certificate === undefined) !== (key === undefined))
    throw new UsageError("Cannot use one of --tls-cert and --tls-key without the other");
  const isLoopback = host === "localhost" || host === "::1" || host.startsWith("127.");
  if (certificate === undefined || key === undefined) {
    if (clientCa !== undefined) throw new UsageError("Cannot use --client-ca without --tls-cert");
    if (!isLoopback && !args.flag("plain-http"))
      throw new UsageError(`Cannot listen on ${listen} without TLS: passwords would be readable`, {
        hint: "Give --tls-cert and --tls-key, or --plain-http if the network is trusted",
      });
    return { host, port: Number(match[3]), tls: undefined };
  }
  return { host, port: Number(match[3]), tls: { certificate, key, clientCa } };
}

async function addUser(
  { host, output, signal }: CommandContext,
  args: CommandArguments,
  file: string,
  name: string,
): Promise<number> {
  const { hashPassword, putUser } = await import("../../../serve/rest/index.ts");
  const { systemRandom } = await import("../../../crypto/index.ts");
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
