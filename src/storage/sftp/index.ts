import { UsageError } from "../../errors.ts";
import type { Backend } from "../backend.ts";

const absent = (): Promise<never> =>
  Promise.reject(new UsageError("Cannot use repository sftp:…: not in this version"));

export const sftp: Backend = { open: absent, create: absent };
