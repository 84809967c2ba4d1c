/** From a request to its answer: who asks, may he, has he a share left; then the object's bytes, one way or the other. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { join } from "node:path";
import { TLSSocket } from "node:tls";
import type { AuditLog } from "./audit-log.ts";
import type { Limits } from "./limits.ts";
import type { Logins } from "./logins.ts";
import { parseTarget, type Target } from "./paths.ts";
import { type Operation, permissionOf } from "./permissions.ts";
import { Refusal } from "./refusal.ts";
import { sendList, sendObject } from "./sending.ts";
import { ServedRepository } from "./served-repository.ts";
import { Shares } from "./shares.ts";
import type { User } from "./users.ts";

export interface RequestSurroundings {
  /** Its real path. */
  readonly folder: string;
  readonly limits: Limits;
  readonly logins: Logins;
  readonly audit: AuditLog | undefined;
  /** A client's certificate must bear the user's name. */
  readonly checksCertificates: boolean;
  readonly now: () => number;
  readonly elapsed: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  readonly warn: (message: string) => void;
}

/** Told to clients: a name that is taken is refused, also when two put it at once. */
const exclusiveHeader = { "X-Ashlar-Exclusive-Put": "true" } as const;
const staleMs = 24 * 3_600_000;
const noSpace: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** What is known of a request, for the audit log. */
interface Course {
  readonly address: string;
  readonly began: number;
  user: User | undefined;
  name: string | undefined;
  target: Target | undefined;
  received: number;
  sent: number;
  reason: string | undefined;
}

export class Requests {
  readonly #surroundings: RequestSurroundings;
  readonly #shares: Shares;
  readonly #repositories = new Map<string, Promise<ServedRepository>>();
  readonly #inFlight = new Set<Promise<void>>();
  readonly #ofSocket = new WeakMap<Socket, Promise<void>>();

  constructor(surroundings: RequestSurroundings) {
    this.#surroundings = surroundings;
    this.#shares = new Shares(surroundings.elapsed);
  }

  /** One after the other of each connection: hundreds sent at once would each open a file and fill a buffer. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    const before = this.#ofSocket.get(socket) ?? Promise.resolve();
    const done = before
      // Who has gone is not answered, and what he asked for last is not done.
      .then(() => (socket.destroyed ? undefined : this.#handle(request, response)))
      .finally(() => this.#inFlight.delete(done));
    this.#ofSocket.set(socket, done);
    this.#inFlight.add(done);
    return done;
  }

  async settled(): Promise<void> {
    await Promise.allSettled(this.#inFlight);
  }

  forgetShares(): void {
    this.#shares.forget();
  }

  /** Bytes that are no request: headers too long, or too slow. */
  noteBroken(error: NodeJS.ErrnoException, socket: Socket): void {
    const status = error.code === "HPE_HEADER_OVERFLOW" ? 431 : isSlow(error) ? 408 : 400;
    if (socket.writable)
      socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    else socket.destroy();
    if (error.code === "ECONNRESET") return;
    this.#surroundings.audit?.write({
      time: new Date(this.#surroundings.now()).toISOString(),
      address: socket.remoteAddress ?? "",
      method: "",
      object: "",
      status,
      received: 0,
      sent: 0,
      ms: 0,
      reason: error.code ?? error.message,
    });
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const course: Course = {
      address: request.socket.remoteAddress ?? "",
      began: this.#surroundings.elapsed(),
      user: undefined,
      name: undefined,
      target: undefined,
      received: 0,
      sent: 0,
      reason: undefined,
    };
    response.on("error", () => undefined); // Told of by the promise that sends.
    try {
      await this.#answer(request, response, course);
    } catch (error) {
      course.reason = error instanceof Error ? error.message : String(error);
      this.#refuse(request, response, error);
    }
    if (course.user !== undefined)
      this.#shares.countBytes(course.user, course.received + course.sent);
    this.#note(request, response, course);
  }

  async #answer(request: IncomingMessage, response: ServerResponse, course: Course): Promise<void> {
    const [path, query] = splitUrl(request.url ?? "");
    course.target = parseTarget(path);
    course.user = await this.#login(request, course);
    await this.#waitForShare(course.user);
    const { target, user } = course;
    if (target === undefined) throw new Refusal(404, "the path names nothing");
    if (!user.repositories.includes(target.repository))
      throw new Refusal(403, "this repository is not the user's");
    const operation = operationOf(request.method ?? "", target, query);
    const kind = target.type === "repository" ? undefined : target.kind;
    const permission = permissionOf(user, operation, kind);
    if (permission === "no") throw new Refusal(403, `the role ${user.role} may not do that`);

    const repository = await this.#repository(target.repository);
    if (target.type === "repository") {
      await repository.create();
      finish(response, 200);
      return;
    }
    if (target.type === "list") {
      const entries = await repository.list(target.kind);
      if (entries === undefined) throw new Refusal(404, "there is no repository");
      limitAnswer(response, Infinity, this.#surroundings.limits);
      return sendList(response, entries, request.headers.accept, request.method === "HEAD", course);
    }
    const { name } = target;
    switch (operation) {
      case "stat": {
        const size = await repository.size(target.kind, name);
        if (size === undefined) throw new Refusal(404, "there is no such object");
        response.setHeader("Content-Type", "application/octet-stream");
        response.setHeader("Accept-Ranges", "bytes");
        finish(response, 200, size);
        return;
      }
      case "read": {
        const opened = await repository.open(target.kind, name);
        if (opened === undefined) throw new Refusal(404, "there is no such object");
        limitAnswer(response, opened.size, this.#surroundings.limits);
        return sendObject(response, opened, request.headers.range, course);
      }
      case "put":
        await this.#put(request, response, course, repository, target);
        {
          finish(response, 200);
          return;
        }
      case "delete": {
        if (permission === "own" && (await repository.size(target.kind, name)) !== undefined) {
          const owner = await repository.ownerOf(target.kind, name);
          if (owner !== user.name) throw new Refusal(403, "another user has put this object");
        }
        const size = await repository.delete(target.kind, name);
        if (size === undefined) throw new Refusal(404, "there is no such object");
        repository.usage.remove(size);
        finish(response, 200);
        return;
      }
      case "list":
      case "create":
        throw new Refusal(405, "not a method for this");
    }
  }

  async #login(request: IncomingMessage, course: Course): Promise<User> {
    const login = await this.#surroundings.logins.check(
      request.headers.authorization,
      course.address,
    );
    if (login.user === undefined) {
      course.name = login.name;
      if (login.why === "busy") throw new Refusal(429, "too many log-ins at once", 5);
      throw new Refusal(
        401,
        login.why === "absent" ? "no user and password" : "wrong user or password",
      );
    }
    if (this.#surroundings.checksCertificates) {
      const { socket } = request;
      const subject =
        socket instanceof TLSSocket ? socket.getPeerCertificate().subject.CN : undefined;
      if (subject !== login.user.name)
        throw new Refusal(403, "the client's certificate is not this user's");
    }
    return login.user;
  }

  async #waitForShare(user: User): Promise<void> {
    for (;;) {
      const wait = this.#shares.beginRequest(user);
      if (wait === 0) return;
      if (wait > this.#surroundings.limits.shareWaitMsMax)
        throw new Refusal(429, "the user's share is used up", Math.ceil(wait / 1000));
      await this.#surroundings.sleep(wait);
    }
  }

  async #put(
    request: IncomingMessage,
    response: ServerResponse,
    course: Course,
    repository: ServedRepository,
    { kind, name }: Target & { type: "object" },
  ): Promise<void> {
    const { limits } = this.#surroundings;
    const user = course.user!;
    const isSmall = kind === "config" || kind === "keys" || kind === "locks";
    const bytesMax = isSmall ? limits.smallObjectBytesMax : limits.objectBytesMax;
    const header = request.headers["content-length"];
    const length = header === undefined ? undefined : Number(header);
    if (length !== undefined && length > bytesMax)
      throw new Refusal(413, "the object is too large");
    if ((await repository.size(kind, name)) !== undefined)
      throw new Refusal(409, "the object is there already");

    const reserved = length ?? bytesMax;
    await repository.usage.reserve(reserved, user.quotaBytes ?? Infinity);
    const deadline = setTimeout(
      () => request.destroy(new Refusal(408, "the body took too long")),
      limits.bodyTimeoutMs + (1000 * reserved) / limits.bytesPerSecondMin,
    );
    let isStored = false;
    try {
      if (/^100-continue$/i.test(request.headers.expect ?? "")) response.writeContinue();
      isStored = await repository.put(kind, name, {
        // Our answer still has to go out when the body is refused half-way.
        body: request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>,
        bytesMax,
        checkName: kind !== "config",
        owner: kind === "locks" ? user.name : undefined,
        onBytes: (bytes) => (course.received += bytes),
      });
    } finally {
      clearTimeout(deadline);
      repository.usage.settle(reserved, isStored ? course.received : undefined);
    }
    if (!isStored) throw new Refusal(409, "the object is there already");
  }

  #repository(path: string): Promise<ServedRepository> {
    let found = this.#repositories.get(path);
    if (found === undefined) {
      const { folder, elapsed, now, warn } = this.#surroundings;
      const repository = new ServedRepository(join(folder, path), elapsed);
      found = repository
        .tidy(now() - staleMs)
        .catch((error: unknown) => {
          warn(`Cannot tidy up repository ${path}: ${String(error)}`);
        })
        .then(() => repository);
      this.#repositories.set(path, found);
    }
    return found;
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const refusal = error instanceof Refusal ? error : this.#unexpected(error, request);
    if (response.headersSent || response.destroyed || refusal === undefined) {
      response.destroy(); // Half an answer must not look like a whole one.
      return;
    }
    const { status, retryAfterSeconds } = refusal;
    if (status === 401)
      response.setHeader("WWW-Authenticate", 'Basic realm="ashlar", charset="UTF-8"');
    if (retryAfterSeconds !== undefined) response.setHeader("Retry-After", retryAfterSeconds);
    const text = `${refusal.message}\n`;
    response.writeHead(status, {
      ...exclusiveHeader,
      "Content-Type": "text/plain; charset=utf-8",
      "Content-Length": Buffer.byteLength(text),
      "X-Content-Type-Options": "nosniff",
    });
    response.end(request.method === "HEAD" ? undefined : text);
    // What the client still sends is read and dropped for a while: cut off at once, it would lose our answer.
    if (!request.complete) {
      request.resume();
      const timer = setTimeout(
        () => request.destroy(),
        this.#surroundings.limits.bodyTimeoutMs / 6,
      );
      request.once("close", () => {
        clearTimeout(timer);
      });
    }
  }

  /** Undefined when the client has gone. */
  #unexpected(error: unknown, request: IncomingMessage): Refusal | undefined {
    if (request.destroyed && !request.complete) return undefined;
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (code === "ERR_STREAM_PREMATURE_CLOSE" || code === "EPIPE" || code === "ECONNRESET")
      return undefined;
    if (noSpace.has(code)) return new Refusal(507, "no space left");
    this.#surroundings.warn(
      `Cannot answer ${request.method ?? ""} ${(request.url ?? "").slice(0, 200)}: ${String(error)}`,
    );
    return new Refusal(500, "the server failed");
  }

  #note(request: IncomingMessage, response: ServerResponse, course: Course): void {
    const { target } = course;
    const kind = target === undefined || target.type === "repository" ? undefined : target.kind;
    this.#surroundings.audit?.write({
      time: new Date(this.#surroundings.now()).toISOString(),
      address: course.address,
      user: course.user?.name ?? course.name?.slice(0, 64),
      method: request.method ?? "",
      repository: target?.repository,
      object:
        target === undefined
          ? (request.url ?? "").slice(0, 200)
          : target.type === "list"
            ? `${kind!}/`
            : target.type === "repository"
              ? ""
              : kind === "config"
                ? "config"
                : `${kind!}/${target.name}`,
      status: response.headersSent ? response.statusCode : 0,
      received: course.received,
      sent: course.sent,
      ms: Math.round(this.#surroundings.elapsed() - course.began),
      reason: course.reason,
    });
  }
}

function operationOf(method: string, target: Target, query: string): Operation {
  if (target.type === "repository") {
    if (method === "POST" && query === "create=true") return "create";
    throw new Refusal(405, "not a method for a repository");
  }
  if (target.type === "list") {
    if (method === "GET" || method === "HEAD") return "list";
    throw new Refusal(405, "not a method for a folder");
  }
  switch (method) {
    case "HEAD":
      return "stat";
    case "GET":
      return "read";
    case "POST":
      return "put";
    case "DELETE":
      return "delete";
    default:
      throw new Refusal(405, "not a method for an object");
  }
}

function splitUrl(url: string): [path: string, query: string] {
  const at = url.indexOf("?");
  return at === -1 ? [url, ""] : [url.slice(0, at), url.slice(at + 1)];
}

function finish(response: ServerResponse, status: number, length = 0): void {
  response.writeHead(status, { ...exclusiveHeader, "Content-Length": length });
  response.end();
}

/** A client that reads too slowly is not waited for. */
function limitAnswer(response: ServerResponse, bytes: number, limits: Limits): void {
  const expected = Math.min(bytes, limits.objectBytesMax);
  const timer = setTimeout(
    () => response.destroy(),
    limits.bodyTimeoutMs + (1000 * expected) / limits.bytesPerSecondMin,
  );
  response.once("close", () => {
    clearTimeout(timer);
  });
}

function isSlow(error: NodeJS.ErrnoException): boolean {
  return error.code === "ERR_HTTP_REQUEST_TIMEOUT";
}
