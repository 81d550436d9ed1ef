// `bun dev`, with the address of a stand-in relay as its first argument.

import { runCommand } from "citty";

import { dev } from "../../src/cli/serve.ts";
import { openServer } from "../../src/main.ts";

const [relayUrl = "", ...rawArgs] = process.argv.slice(2);
await runCommand(dev(openServer, { relayUrl }), { rawArgs });
