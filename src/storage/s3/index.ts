import { UsageError } from "../../errors.ts";
import type { Backend } from "../backend.ts";

const absent = (): Promise<never> =>
  Promise.reject(new UsageError("Cannot use repository s3:…: not in this version"));

export const s3: Backend = { open: absent, create: absent };
