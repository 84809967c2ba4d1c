import { UsageError } from "../../errors.ts";
import type { Backend } from "../backend.ts";

const absent = (): Promise<never> =>
  Promise.reject(new UsageError("Cannot use repository rest:…: not in this version"));

export const rest: Backend = { open: absent, create: absent };
