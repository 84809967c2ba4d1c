/** Reading answers of others: a JSON value by name, nothing taken for granted. */
import { FailedError } from "../../errors.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function asObject(value: unknown, what: string): JsonObject {
  if (isObject(value)) return value;
  throw unexpected(what, "an object");
}

export function asList(value: unknown, what: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  throw unexpected(what, "a list");
}

export function asText(value: unknown, what: string): string {
  if (typeof value === "string") return value;
  throw unexpected(what, "a text");
}

/** A count or size: a whole number from 0 on. */
export function asCount(value: unknown, what: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw unexpected(what, "a whole number");
}

export function isTrue(value: unknown): boolean {
  return value === true;
}

function unexpected(what: string, kind: string): FailedError {
  return new FailedError(`Cannot understand the machine's answer: ${what} is not ${kind}`);
}
