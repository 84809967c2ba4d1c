/** What a run leaves in a machine, and how it is taken out: by the run itself, or by the next if it was killed. */
import { rmSync } from "node:fs";
import { type Monitor, waitUntil } from "./monitor.ts";
import { asList, isObject, type JsonObject } from "./qmp/json.ts";
import { QmpCommandError } from "./qmp/qmp-client.ts";

export const jobPrefix = "ashlar-job-";
export const exportPrefix = "ashlar-export-";
export const scratchPrefix = "ashlar-scratch-";
export const scratchFilePrefix = "ashlar-file-";

/**
 * Ends our exports, jobs and scratch nodes. Bitmaps stay. The guest does not notice.
 *
 * @returns what there was
 */
export async function clearRun(qmp: Monitor): Promise<string[]> {
  const found: string[] = [];
  for (const id of await ids(qmp, "query-block-exports", "id", exportPrefix)) {
    found.push(id);
    await unlessRefused(qmp.execute("block-export-del", { id, mode: "hard" }));
    const isGone = async (): Promise<boolean> =>
      !(await ids(qmp, "query-block-exports", "id", exportPrefix)).includes(id);
    await waitUntil(isGone, `the end of ${id}`);
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
export async function endJob(qmp: Monitor, id: string): Promise<void> {
  await unlessRefused(qmp.execute("job-cancel", { id }));
  const isGone = async (): Promise<boolean> => {
    const job = (await rowsOf(qmp, "query-jobs")).find((row) => row["id"] === id);
    // One that has ended may wait to be dismissed.
    if (job?.["status"] === "concluded") await unlessRefused(qmp.execute("job-dismiss", { id }));
    return job === undefined;
  };
  await waitUntil(isGone, `the end of ${id}`);
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

async function rowsOf(qmp: Monitor, command: string): Promise<JsonObject[]> {
  return asList(await qmp.execute(command), command).filter(isObject);
}

async function ids(qmp: Monitor, command: string, key: string, prefix: string): Promise<string[]> {
  const rows = await rowsOf(qmp, command);
  return rows.filter((row) => startsWith(row[key], prefix)).map((row) => String(row[key]));
}

function startsWith(value: unknown, prefix: string): boolean {
  return typeof value === "string" && value.startsWith(prefix);
}
