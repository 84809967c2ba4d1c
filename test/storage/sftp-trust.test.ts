/** Whom the SFTP backend believes, and with what it logs in. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BackendError, RepositoryNotFoundError, UsageError } from "../../src/errors.ts";
import { judgeHostKey, knownName, parseKnownHosts } from "../../src/storage/sftp/known-hosts.ts";
import { sftp } from "../../src/storage/sftp/index.ts";
import { parseSftpLocation } from "../../src/storage/sftp/sftp-location.ts";
import { requires } from "../support/requires.ts";
import {
  freePort,
  hasSshd,
  makeKey,
  SshServer,
  sshEnvironment,
  startAgent,
} from "../support/ssh-server.ts";
import { temporaryFolder } from "../support/storage-folders.ts";

describe("an SFTP location", () => {
  it.each([
    ["sftp://bob@nas:2222/srv/repo", "bob", "nas", 2222, "/srv/repo"],
    ["sftp://nas/srv/repo/", undefined, "nas", undefined, "/srv/repo"],
    ["sftp://nas//srv//repo", undefined, "nas", undefined, "/srv/repo"],
    ["sftp://nas/~/repo", undefined, "nas", undefined, "repo"],
    ["sftp://b%40d@[2001:db8::1]:22/a%20b", "b@d", "2001:db8::1", 22, "/a b"],
    ["sftp:bob@nas:/srv/repo", "bob", "nas", undefined, "/srv/repo"],
    ["sftp:bob@corp@nas:repo/here", "bob@corp", "nas", undefined, "repo/here"],
    ["sftp:nas:repo", undefined, "nas", undefined, "repo"],
    ["sftp:bob@[2001:db8::1]:/srv", "bob", "2001:db8::1", undefined, "/srv"],
  ])("%s", (location, user, host, port, path) => {
    expect(parseSftpLocation(location)).toMatchObject({ user, host, port, path });
  });

  it.each([
    "sftp:",
    "sftp://",
    "sftp://nas",
    "sftp:nas",
    "sftp:nas:",
    "sftp://nas:0/x",
    "sftp://-oX/x",
  ])("%s is refused", (location) => {
    expect(() => parseSftpLocation(location)).toThrow(UsageError);
  });

  it("is refused with a password in it, which is not shown", () => {
    let message = "";
    try {
      parseSftpLocation("sftp://bob:hunter2@nas/srv");
    } catch (error) {
      message = JSON.stringify(error, Object.getOwnPropertyNames(error));
    }
    expect(message).toContain("password");
    expect(message).not.toContain("hunter2");
  });
});

describe("known_hosts", () => {
  const key = (text: string): Buffer =>
    Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from(`ssh-ed25519${text}`)]);
  const line = (names: string, text: string): string =>
    `${names} ssh-ed25519 ${key(text).toString("base64")}\n`;
  const judge = (text: string, name: string, shown: string): string =>
    judgeHostKey(parseKnownHosts(text, "file"), name, key(shown)).kind;

  it("finds names, patterns, ports, and heeds negation", () => {
    const text = line("nas,10.0.0.1", "a") + line("*.example.org,!bad.example.org", "b");
    expect(judge(text, "nas", "a")).toBe("known");
    expect(judge(text, "10.0.0.1", "a")).toBe("known");
    expect(judge(text, "web.example.org", "b")).toBe("known");
    expect(judge(text, "bad.example.org", "b")).toBe("unknown");
    expect(judge(text, knownName("nas", 2222), "a")).toBe("unknown");
    expect(judge(line("[nas]:2222", "a"), knownName("NAS", 2222), "a")).toBe("known");
  });

  it("tells a changed key from an unknown host, and takes any of several keys", () => {
    const text = `# comment\n${line("nas", "a")}${line("nas", "b")}`;
    expect(judge(text, "nas", "b")).toBe("known");
    expect(judge(text, "nas", "c")).toBe("changed");
    expect(judge(text, "other", "a")).toBe("unknown");
  });

  it("refuses what is revoked, also where it is trusted elsewhere", () => {
    const text = `${line("nas", "a")}@revoked ${line("*", "a")}`;
    expect(judge(text, "nas", "a")).toBe("revoked");
    expect(judge(`@cert-authority ${line("nas", "a")}`, "nas", "a")).toBe("unknown");
  });
});

describe("logging in by SFTP", () => {
  let server: SshServer;
  beforeAll(async () => {
    if (!hasSshd) return;
    server = await SshServer.start({
      hostKeyTypes: ["ed25519", "ecdsa", "rsa"],
      lines: ["AllowTcpForwarding yes"],
    });
    const storage = await sftp.create(server.url("/~/repo"), server.environment());
    await storage.put("config", "config", [Uint8Array.of(1)]);
    await storage.close();
  });
  afterAll(async () => {
    await (server as SshServer | undefined)?.[Symbol.asyncDispose]();
  });

  /** A home that knows the server, but has no key. */
  function homeWithout(...files: readonly string[]): string {
    const home = temporaryFolder();
    mkdirSync(join(home, ".ssh"));
    for (const name of ["known_hosts", "id_ed25519", "id_ed25519.pub"]) {
      if (files.includes(name)) continue;
      const bytes = readFileSync(join(server.home, ".ssh", name));
      writeFileSync(join(home, ".ssh", name), bytes, { mode: 0o600 });
    }
    return home;
  }

  async function failure(home: string, location = server.url("/~/repo")): Promise<BackendError> {
    try {
      await (await sftp.open(location, sshEnvironment(home))).close();
    } catch (error) {
      if (error instanceof BackendError) return error;
      throw error;
    }
    throw new Error("it opened");
  }

  async function opens(home: string, location = server.url("/~/repo"), env = {}): Promise<void> {
    const storage = await sftp.open(
      location,
      sshEnvironment(home, { env: { HOME: home, ...env } }),
    );
    expect(await storage.get("config", "config")).toEqual(Uint8Array.of(1));
    await storage.close();
  }

  it("refuses an unknown host: shows its key, and how to take it", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const home = homeWithout("known_hosts");
    const error = await failure(home);
    expect(error.temporary).toBe(false);
    const shown = /ssh-ed25519 (SHA256:\S+)/.exec(error.message)?.[1];
    const listed = execFileSync("ssh-keygen", ["-lf", join(server.folder, "host_ed25519.pub")]);
    expect(listed.toString()).toContain(shown);
    // The hint's own command makes it known.
    const command = /ssh-keyscan .*$/.exec(error.hint ?? "")?.[0];
    execFileSync("sh", ["-c", command!], { stdio: "ignore" });
    await opens(home);
  });

  it("refuses a host whose key is another than before", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const home = homeWithout("known_hosts");
    makeKey("ed25519", join(home, "other"));
    const other = readFileSync(join(home, "other.pub"), "utf8");
    writeFileSync(join(home, ".ssh/known_hosts"), `[127.0.0.1]:${server.port} ${other}`);
    const error = await failure(home);
    expect(error.temporary).toBe(false);
    expect(error.message).toContain("is not the one in");
    expect(error.message).toContain("known_hosts:1");
  });

  it("asks for the kind of key that is known, hashed or not", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    for (const type of ["ecdsa", "rsa"]) {
      const home = homeWithout("known_hosts");
      const file = join(home, ".ssh/known_hosts");
      const key = readFileSync(join(server.folder, `host_${type}.pub`), "utf8");
      writeFileSync(file, `[127.0.0.1]:${server.port} ${key}`);
      execFileSync("ssh-keygen", ["-q", "-H", "-f", file], { stdio: "ignore" });
      expect(readFileSync(file, "utf8")).not.toContain("127.0.0.1");
      await opens(home);
    }
  });

  it("takes no authority's word for a key, and says so", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const home = homeWithout("known_hosts");
    const lines = server.hostKeys().map((key) => `@cert-authority *,[127.*]:* ${key}\n`);
    writeFileSync(join(home, ".ssh/known_hosts"), lines.join(""));
    const error = await failure(home);
    expect(error.message).toContain("is not known");
    expect(error.hint).toMatch(/@cert-authority line in .*known_hosts:1 .*ssh-keyscan/);
  });

  it("refuses a revoked key", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const home = homeWithout();
    const file = join(home, ".ssh/known_hosts");
    const keys = server.hostKeys().map((key) => `@revoked * ${key}\n`);
    writeFileSync(file, readFileSync(file, "utf8") + keys.join(""));
    expect((await failure(home)).message).toContain("is revoked by");
  });

  it("says what to do without a key, with a wrong one, and with one that is locked", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const without = homeWithout("id_ed25519", "id_ed25519.pub");
    expect((await failure(without)).message).toContain("there is no key to log in with");
    makeKey("ed25519", join(without, ".ssh/id_ed25519"));
    const wrong = await failure(without);
    expect(wrong.message).toContain("the server takes no key of");
    expect(wrong.temporary).toBe(false);
    rmSync(join(without, ".ssh/id_ed25519"));
    makeKey("ed25519", join(without, ".ssh/id_ecdsa"), "a passphrase");
    expect((await failure(without)).hint).toContain("ssh-add");
  });

  it("logs in by the agent, also with the named key alone", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const home = homeWithout("id_ed25519");
    // A server hangs up after six wrong keys: the named one must be asked for first.
    const wrong = Array.from({ length: 8 }, (_, n) => join(home, `wrong${n}`));
    for (const path of wrong) makeKey("ed25519", path);
    const keys = [...wrong, join(server.home, ".ssh/id_ed25519")];
    await using agent = await startAgent(home, keys);
    await opens(home, undefined, { SSH_AUTH_SOCK: agent.socket });
    const config = `IdentityFile ~/.ssh/id_ed25519\nIdentitiesOnly yes\nIdentityAgent ${agent.socket}\n`;
    writeFileSync(join(home, ".ssh/config"), config);
    await opens(home);
    writeFileSync(join(home, ".ssh/config"), config.replace("id_ed25519", "id_none"));
    expect((await failure(home)).message).toContain("the server takes no key of the agent");
  });

  it("obeys ~/.ssh/config: alias, port, user, key, files, Include", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const home = homeWithout("id_ed25519", "known_hosts");
    mkdirSync(join(home, ".ssh/conf.d"));
    writeFileSync(join(home, ".ssh/config"), "Include conf.d/*.conf\nHost *\n  User nobody\n");
    writeFileSync(
      join(home, ".ssh/conf.d/nas.conf"),
      [
        "Host nas",
        "  HostName 127.0.0.1",
        `  Port ${server.port}`,
        `  User ${server.user}`,
        `  IdentityFile ${join(server.home, ".ssh", "id_ed25519")}`,
        `  UserKnownHostsFile ${join(server.home, ".ssh", "known_hosts")}`,
      ].join("\n"),
    );
    await opens(home, "sftp:nas:repo");
    await opens(home, "sftp://nas/~/repo");
  });

  it("goes through a jump host, whose key is checked too", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    await using inner = await SshServer.start();
    const storage = await sftp.create(inner.url("/~/repo"), inner.environment());
    await storage.put("config", "config", [Uint8Array.of(1)]);
    await storage.close();
    const home = homeWithout();
    const known = join(home, ".ssh/known_hosts");
    const innerKnown = readFileSync(join(inner.home, ".ssh/known_hosts"), "utf8");
    writeFileSync(known, readFileSync(known, "utf8") + innerKnown);
    writeFileSync(
      join(home, ".ssh/config"),
      [
        "Host gate",
        "  HostName 127.0.0.1",
        `  Port ${server.port}`,
        "Host inner",
        "  HostName 127.0.0.1",
        `  Port ${inner.port}`,
        `  ProxyJump ${server.user}@gate`,
        `  IdentityFile ${join(inner.home, ".ssh/id_ed25519")}`,
      ].join("\n"),
    );
    await opens(home, `sftp:${inner.user}@inner:repo`);
    writeFileSync(known, innerKnown);
    expect((await failure(home, "sftp:inner:repo")).message).toMatch(/gate.*is not known/);
  });

  it("tells hosts and ports that are not there from repositories that are not", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const refused = await failure(server.home, `sftp://root@127.0.0.1:${await freePort()}/x`);
    expect(refused).toMatchObject({ errno: "ECONNREFUSED", temporary: true });
    const absent = await sftp.open(server.url("/~/nothing"), server.environment());
    await expect(absent.get("config", "config")).rejects.toThrow(RepositoryNotFoundError);
    await absent.close();
  });
});
