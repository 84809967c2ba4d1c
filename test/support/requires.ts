import type { TestContext } from "vitest";

/**
 * Skips the test where the machine lacks what it needs, and shows why; with CI set it fails instead,
 * so that nothing goes untested unseen.
 */
export function requires(context: TestContext, condition: boolean, reason: string): void {
  if (condition) return;
  if (process.env["CI"] !== undefined) throw new Error(`CI lacks what this test needs: ${reason}`);
  console.warn(reason);
  context.skip(reason);
}
