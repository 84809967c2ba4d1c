/** Repositories behind an SFTP server: `sftp://user@host:port/path`, `sftp:user@host:path`. */
import { UsageError } from "../../errors.ts";
import type { Backend, StorageEnvironment } from "../backend.ts";
import { connect } from "./connect.ts";
import { SftpSessions } from "./sessions.ts";
import { parseSftpLocation } from "./sftp-location.ts";
import { SftpStorage, type SftpStorageOptions } from "./sftp-storage.ts";

export { SftpStorage };

export const sftp: Backend = {
  open: async (location, environment) => SftpStorage.open(optionsFor(location, environment)),
  create: async (location, environment) => SftpStorage.create(optionsFor(location, environment)),
};

const sessionsDefault = 3;
/** A disk that wakes up, or flushes what others wrote, may take long to answer. */
const timeoutSecondsDefault = 120;
const keepaliveMsMax = 15_000;

const optionNames = ["sftp.connections", "sftp.timeout", "sftp.config"];

/** For tests, which ask the storage what it did; programs open by location. @throws {UsageError} */
export function optionsFor(location: string, environment: StorageEnvironment): SftpStorageOptions {
  const { options, env } = environment;
  for (const key of Object.keys(options)) {
    if (!key.startsWith("sftp.") || optionNames.includes(key)) continue;
    throw new UsageError(`Cannot use option -o ${key}: SFTP has none of that name`, {
      hint: `It has ${optionNames.join(", ")}`,
    });
  }
  const target = parseSftpLocation(location);
  const timeoutMs = 1000 * wholeNumber(options, "sftp.timeout", timeoutSecondsDefault, 3600);
  const countMax = wholeNumber(options, "sftp.connections", sessionsDefault, 10);
  const keepaliveMs = Math.min(keepaliveMsMax, Math.ceil(timeoutMs / 4));
  const configFile = options["sftp.config"];
  const sessions = new SftpSessions(
    target.host,
    () => connect(target, { env, configFile, keepaliveMs }),
    { countMax, timeoutMs },
  );
  const { random, pace } = environment;
  return { location: target.text, root: target.path, sessions, random, pace };
}

function wholeNumber(
  options: StorageEnvironment["options"],
  name: string,
  otherwise: number,
  max: number,
): number {
  const text = options[name];
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new UsageError(`Cannot use option -o ${name}=${text}: not a whole number from 1 to ${max}`);
}
