/** What a run leaves in a machine, and how it is taken out: by the run itself, or by the next if it was killed. */
import { rmSync } from "node:fs";
import { asList, isObject, type JsonObject } from "./qmp/json.ts";
import { type QmpClient, QmpCommandError } from "./qmp/qmp-client.ts";

export const jobPrefix = "ashlar-job-";
export const exportPrefix = "ashlar-export-";
export const scratchPrefix = "ashlar-scratch-";
export const scratchFilePrefix = "ashlar-file-";

/**
 * Ends our exports, jobs and scratch nodes. Bitmaps stay. The guest does not notice.
 *
 * @returns what there was
 */
export async function clearRun(qmp: QmpClient): Promise<string[]> {
  const found: string[] = [];
  for (const id of await ids(qmp, "query-block-exports", "id", exportPrefix)) {
    found.push(id);
    const gone = eventFor(qmp, "BLOCK_EXPORT_DELETED", "id", id);
    await qmp.execute("block-export-del", { id, mode: "hard" });
    await gone;
  }
  if (found.length > 0) await unlessRefused(qmp.execute("nbd-server-stop"));
  for (const id of await ids(qmp, "query-jobs", "id", jobPrefix)) {
    found.push(id);
    await endJob(qmp, id);
  }
  const nodes = asList(
    await qmp.execute("query-named-block-nodes", { flat: true }),
    "query-named-block-nodes",
  ).filter(isObject);
  for (const prefix of [scratchPrefix, scratchFilePrefix]) {
    for (const node of nodes.filter((row) => startsWith(row["node-name"], prefix))) {
      const name = String(node["node-name"]);
      found.push(name);
      await unlessRefused(qmp.execute("blockdev-del", { "node-name": name }));
      if (prefix === scratchFilePrefix) rmSync(String(node["file"]), { force: true });
    }
  }
  return found;
}

/** A job that copies before writes never ends by itself: cancelling it is its normal end. */
export async function endJob(qmp: QmpClient, id: string): Promise<void> {
  const gone = qmp.expect(
    ({ name, data }) =>
      name === "JOB_STATUS_CHANGE" && data["id"] === id && data["status"] === "null",
    `the end of ${id}`,
  );
  try {
    await qmp.execute("job-cancel", { id });
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    // One that has ended waits to be dismissed; one that is gone is gone.
    if (!(await unlessRefused(qmp.execute("job-dismiss", { id })))) return;
  }
  await gone;
}

/** @returns false when QEMU refused: what was to go is gone, or in use by another */
export async function unlessRefused(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    if (error instanceof QmpCommandError) return false;
    throw error;
  }
}

function eventFor(qmp: QmpClient, name: string, key: string, value: string): Promise<unknown> {
  return qmp.expect(
    (event) => event.name === name && event.data[key] === value,
    `${name} of ${value}`,
  );
}

async function ids(
  qmp: QmpClient,
  command: string,
  key: string,
  prefix: string,
): Promise<string[]> {
  const rows = asList(await qmp.execute(command), command);
  return rows
    .filter((row): row is JsonObject => isObject(row) && startsWith(row[key], prefix))
    .map((row) => String(row[key]));
}

function startsWith(value: unknown, prefix: string): boolean {
  return typeof value === "string" && value.startsWith(prefix);
}
