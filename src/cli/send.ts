// `bun send user.created` does what Clerk does: signs an event as Svix does and posts it. The server can't tell the difference.

import { readFileSync } from "node:fs";

import { defineCommand } from "citty";
import { Webhook } from "svix";

import { eventNames, isEvent, type ReceivedEvent, suggest } from "../clerk/events.ts";
import { messageId } from "../clerk/message-id.ts";
import { sample } from "../clerk/samples.ts";
import { type Config, processEnvironment } from "../config.ts";
import { UserError } from "../errors.ts";
import type { RunView } from "../inbox/inbox.ts";
import { localUrl } from "./banner.ts";
import { type Client, connect, hasNotBegun, waitForRuns } from "./client.ts";
import { describeRun, isFine } from "./describe.ts";
import { configOrExplain } from "./serve.ts";

// Svix sends many at once too; more would only measure this machine.
const AT_ONCE = 16;

interface Sent {
  id: string;
  status: number;
  answer: string;
}

export const send = defineCommand({
  meta: { name: "bun send", description: "Send a signed sample event to your server" },
  args: {
    event: { type: "positional", description: "One of Clerk's events, like user.created", required: false },
    data: {
      type: "string",
      description: `Values to put over the sample's data: '{"first_name":"Ada"}'`,
      valueHint: "json",
    },
    file: { type: "string", description: "Send this event instead of a sample", valueHint: "event.json" },
    count: { type: "string", description: "Send so many different ones", default: "1" },
    id: {
      type: "string",
      description: "Use this svix-id: sending one twice shows what a duplicate does",
      valueHint: "msg_…",
    },
    url: { type: "string", description: "Send it there instead of to the local server" },
    "bad-signature": { type: "boolean", description: "Sign it wrongly, to see the refusal" },
  },
  async run({ args }) {
    const config = configOrExplain(processEnvironment(), "dev");
    const makeEvent = readEvent(args);
    const count = readCount(args);
    if (args.url !== undefined && !URL.canParse(args.url))
      throw new UserError(`--url is ${args.url}, expected an address like https://example.com/api/webhooks`);
    const url = args.url ?? localUrl(config, config.port);
    const client = args.url ? undefined : await connect(config.dataDir);
    const post = () =>
      postEvent(url, args.id ?? messageId(Date.now()), makeEvent(), config, args["bad-signature"] === true);
    const fine = count === 1 ? await sendOne(post, client) : await sendMany(post, count, client);
    process.exitCode = fine || args["bad-signature"] ? 0 : 1;
  },
});

async function sendOne(post: () => Promise<Sent>, client: Client | undefined): Promise<boolean> {
  const { id, status, answer } = await post();
  console.log(`${status} ${answer}`);
  if (status !== 200 || !client) return status === 200;
  const runs = await waitForRuns(client, id).catch(gone);
  if (runs.length === 0) console.log("  no handler for it yet: it is stored, and nothing runs");
  for (const run of runs) console.log(describeRun(run));
  if (runs.some(hasNotBegun)) {
    const subject = (await client.get(id).catch(gone))?.subject;
    if (subject) console.log(`      what goes first: bun deliveries --subject ${subject} --state waiting`);
  }
  return runs.every(isFine);
}

async function sendMany(post: () => Promise<Sent>, count: number, client: Client | undefined): Promise<boolean> {
  const began = performance.now();
  const sent: Sent[] = [];
  let left = count;
  const work = async () => {
    while (left-- > 0) sent.push(await post());
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const seconds = (performance.now() - began) / 1_000;
  const accepted = sent.filter(({ status }) => status === 200);
  console.log(`${accepted.length} of ${count} accepted in ${seconds.toFixed(1)} s`);
  for (const { status, answer } of sent.filter(({ status }) => status !== 200).slice(0, 3))
    console.log(`  ${status} ${answer}`);
  if (!client) return accepted.length === count;
  const runs: RunView[] = [];
  for (const { id } of accepted) runs.push(...(await waitForRuns(client, id)));
  const bad = runs.filter((run) => !isFine(run));
  console.log(`  ${runs.length - bad.length} of ${runs.length} runs done`);
  if (bad[0]) console.log(`  one of the others:\n${describeRun(bad[0])}`);
  return accepted.length === count && bad.length === 0;
}

async function postEvent(url: string, id: string, event: ReceivedEvent, config: Config, bad: boolean): Promise<Sent> {
  const body = JSON.stringify(event);
  const now = new Date();
  const secret = config.secrets[0] ?? Buffer.alloc(0);
  const signer = new Webhook(bad ? Buffer.alloc(24, 1).toString("base64") : secret.toString("base64"));
  const headers = {
    "content-type": "application/json",
    "user-agent": "bellhop-send",
    "svix-id": id,
    "svix-timestamp": String(Math.floor(now.getTime() / 1_000)),
    "svix-signature": signer.sign(id, now, body),
  };
  try {
    const response = await fetch(url, { method: "POST", headers, body, redirect: "manual" });
    return { id, status: response.status, answer: (await response.text()).trim() };
  } catch (error) {
    throw new UserError(`Nothing answers at ${url} (${(error as Error).message}). Is the server running? bun dev`);
  }
}

function readEvent({
  event: name,
  file,
  data,
}: {
  event?: string | undefined;
  file?: string | undefined;
  data?: string | undefined;
}): () => ReceivedEvent {
  const overrides = data === undefined ? undefined : parseObject(data, "--data");
  if (file !== undefined) {
    const event: unknown = parseObject(readText(file), file);
    if (!isEvent(event)) throw new UserError(`${file} is no event: it needs a string "type" and an object "data"`);
    return () => ({ ...event, data: { ...event.data, ...overrides } });
  }
  if (name === undefined) throw new UserError(`Which event? For example: bun send user.created\n\n${eventList()}`);
  const known = eventNames.find((each) => each === name);
  if (!known) {
    const meant = suggest(name);
    throw new UserError(`Clerk has no event ${name}${meant ? `; did you mean ${meant}?` : `\n\n${eventList()}`}`);
  }
  // What somebody types has no type: the handler finds out.
  return () => sample(known, overrides ? { overrides: { data: overrides } as never } : {});
}

function eventList(): string {
  return eventNames.map((name) => `  ${name}`).join("\n");
}

function readCount({ count, id }: { count: string; id?: string | undefined }): number {
  const value = Number(count);
  if (!Number.isInteger(value) || value < 1) throw new UserError(`--count is ${count}, expected a whole number from 1`);
  if (id !== undefined && value > 1) throw new UserError("--id names one message: leave out --count");
  return value;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UserError(`${file} can't be read: ${(error as Error).message}`);
  }
}

function parseObject(text: string, where: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (error) {
    throw new UserError(`${where} is no JSON: ${(error as Error).message}`);
  }
  throw new UserError(`${where} is JSON, but no object like '{"first_name":"Ada"}'`);
}

/** The server may stop while the command waits. */
function gone(): never {
  throw new UserError("The server has gone away meanwhile. What it accepted is stored, and runs after its next start.");
}
