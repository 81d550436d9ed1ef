// The module "bellhop" of an application: what handlers import, and `createBellhop`.
// Loads no part of the server before `createBellhop` is called, because handlers and tests import it for `on` alone.

export * from "../index.ts";
export { type Bellhop, createBellhop } from "./create-bellhop.ts";
export type { BellhopOptions } from "./bellhop-options.ts";
