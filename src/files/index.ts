/**
 * Trees of files: walking them with all a system knows of each entry, reading ordinary files, bringing a
 * tree back; and the patterns that say which paths belong.
 *
 * A backup: `walk(plannedRoots(paths, cwd), { excludes: compilePatterns(…) })`. A restore: a `TreeRestorer`,
 * told of the same entries in the same order.
 */
export { parsePatternFile } from "./exclude-file.ts";
export { decideOverwrite, overwritePolicies } from "./overwrite.ts";
export type { OverwritePolicy } from "./overwrite.ts";
export { compilePatterns, selectPaths } from "./path-patterns.ts";
export type { PathMatcher, PatternOptions, Selection } from "./path-patterns.ts";
export { isRefusal } from "./problem.ts";
export type { FileProblem, ProblemKind } from "./problem.ts";
export { plannedRoots } from "./root-plan.ts";
export type { RootPlan } from "./root-plan.ts";
export type { FileExtent, OpenedSource, SourceFile } from "./source-file.ts";
export { TreeRestorer } from "./tree-restorer.ts";
export type { OpenFileResult, RestoredFile, RestoreOptions } from "./tree-restorer.ts";
export { walk } from "./walk.ts";
export type { WalkEvent, WalkOptions } from "./walk.ts";
