/**
 * `rest:http://host:8000/path`: repositories held by a server of restic's REST protocol, version 2:
 * `ashlar serve rest`, rest-server, `rclone serve restic` and so every cloud that rclone knows.
 */
import { RepositoryExistsError, RepositoryNotFoundError } from "../../errors.ts";
import type { Backend } from "../backend.ts";
import { HttpCalls } from "./http-calls.ts";
import { parseServer } from "./rest-server.ts";
import { RestStorage } from "./rest-storage.ts";

export const rest: Backend = {
  async open(location, environment) {
    const server = await parseServer(location, environment);
    const storage = new RestStorage(new HttpCalls(server, environment.pace));
    try {
      if (await storage.holdsConfig()) return storage;
      throw new RepositoryNotFoundError(`Cannot open repository ${server.display}: there is none`, {
        hint: "Check the path in the URL. Only `ashlar init` creates a repository",
      });
    } catch (error) {
      await storage.close();
      throw error;
    }
  },

  async create(location, environment) {
    const server = await parseServer(location, environment);
    const storage = new RestStorage(new HttpCalls(server, environment.pace));
    try {
      await storage.makeFolders();
      if (!(await storage.holdsConfig())) return storage;
      throw new RepositoryExistsError(
        `Cannot create repository ${server.display}: there is one already`,
        { hint: "Use it, or choose another place" },
      );
    } catch (error) {
      await storage.close();
      throw error;
    }
  },
};
