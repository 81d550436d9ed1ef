// `bun send user.created` signs a sample event as Svix does, and posts it to the server.

import { readFileSync } from "node:fs";

import { defineCommand } from "citty";

import type { PausesJson, RunJson } from "../api/types.ts";
import { eventNames, isEvent, type KnownEventName, type ReceivedEvent } from "../clerk/events.ts";
import { messageId } from "../clerk/message-id.ts";
import { mergeDeep, sample } from "../clerk/samples.ts";
import { postEvent, type PostOptions } from "../clerk/signed-message.ts";
import { COMMAND } from "../command.ts";
import { isLoopback, processEnvironment } from "../config.ts";
import { formatDuration } from "../duration.ts";
import { messageOf, UserError } from "../errors.ts";
import { parseObject } from "../json.ts";
import { printable, printableLines } from "../printable.ts";
import { didYouMean } from "../suggest.ts";
import type { Client } from "./api-client.ts";
import { localUrl } from "./banner.ts";
import { connect } from "./connect.ts";
import { describePause, describeRun, isSuccessful, pauseOf } from "./describe.ts";
import { configOrUserError } from "./serve.ts";
import { hasNotStarted, lastWait, waitForRuns } from "./wait-for-runs.ts";

// Svix sends in parallel, too. More would only measure this machine.
const CONCURRENCY = 16;

interface Sent {
  id: string;
  status: number;
  answer: string;
}

export const send = defineCommand({
  meta: { name: `${COMMAND} send`, description: "Send a signed sample event to your server" },
  args: {
    event: { type: "positional", description: "One of Clerk's events, like user.created", required: false },
    data: {
      type: "string",
      description: `Values that override the sample's data: '{"first_name":"Ada"}'`,
      valueHint: "json",
    },
    file: { type: "string", description: "Send this event instead of a sample", valueHint: "event.json" },
    count: { type: "string", description: "Number of different events to send", default: "1" },
    id: {
      type: "string",
      description: "Use this svix-id: send it twice to test a duplicate",
      valueHint: "msg_…",
    },
    url: { type: "string", description: "Send it to this URL instead of the local server" },
    "bad-signature": { type: "boolean", description: "Sign it wrongly, to see the refusal" },
  },
  async run({ args }) {
    const config = configOrUserError(processEnvironment(), "dev");
    const makeEvent = readEvent(args);
    const count = readCount(args);
    if (args.data !== undefined && args.file === undefined) await warnOfUnknownFields(makeEvent().type, args.data);
    if (args.url !== undefined && !URL.canParse(args.url))
      throw new UserError(`--url is ${args.url}, expected an address like https://example.com/api/webhooks`);
    await using client = args.url ? undefined : await connect(config.dataDir);
    // The running server knows its port: it may have been started with another PORT than this command.
    const url = args.url ?? client?.webhookUrl ?? localUrl(config, config.port);
    const viaProxy = args.url !== undefined && !isLoopback(new URL(args.url).hostname);
    const key = args["bad-signature"] ? Buffer.alloc(24, 1) : (config.secrets[0] ?? Buffer.alloc(0));
    const post = () =>
      postSigned(url, makeEvent(), { id: args.id ?? messageId(Date.now()), key, userAgent: "bellhop-send", viaProxy });
    const fine = count === 1 ? await sendOne(post, client) : await sendMany(post, count, client);
    process.exitCode = fine || args["bad-signature"] ? 0 : 1;
  },
});

async function sendOne(post: () => Promise<Sent>, client: Client | undefined): Promise<boolean> {
  const { id, status, answer } = await post();
  console.log(printableLines(`${status} ${answer}`));
  if (status !== 200 || !client) return status === 200;
  const runs = await waitForRuns(client, id).catch(gone);
  if (runs.length === 0) console.log("  no handler for it yet: it is stored, and nothing runs");
  const paused = await pausesOf(client, runs);
  for (const run of runs) console.log(describeRun(run, { paused, isOffline: false }));
  if (paused.length === 0 && runs.some(hasNotStarted)) {
    const subject = (await client.get(id).catch(gone))?.subject;
    if (subject)
      console.log(`      what runs first: ${COMMAND} deliveries --subject ${printable(subject)} --state waiting`);
  }
  return runs.every(isSuccessful);
}

/** The pauses that some of the runs wait for. */
async function pausesOf(client: Client, runs: readonly RunJson[]): Promise<PausesJson["paused"]> {
  if (!runs.some(({ state }) => state === "waiting")) return [];
  const { paused } = await client.pauses().catch(gone);
  return paused.filter((pause) => runs.some((run) => pauseOf(run, [pause])));
}

async function sendMany(post: () => Promise<Sent>, count: number, client: Client | undefined): Promise<boolean> {
  const began = performance.now();
  const sent: Sent[] = [];
  let left = count;
  const work = async () => {
    while (left-- > 0) sent.push(await post());
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  const took = performance.now() - began;
  const accepted = sent.filter(({ status }) => status === 200);
  console.log(`${accepted.length} of ${count} accepted in ${formatDuration(took)}`);
  for (const { status, answer } of sent.filter(({ status }) => status !== 200).slice(0, 3))
    console.log(printableLines(`  ${status} ${answer}`));
  if (!client) return accepted.length === count;
  const runs: RunJson[] = [];
  let giveUpAt = lastWait();
  for (const { id } of accepted) {
    const ofDelivery = await waitForRuns(client, id, { giveUpAt }).catch(gone);
    // Runs of a paused handler wait for long, so the others are only looked at.
    if (ofDelivery.some(hasNotStarted)) giveUpAt = performance.now();
    runs.push(...ofDelivery);
  }
  const bad = runs.filter((run) => !isSuccessful(run));
  console.log(`  ${runs.length - bad.length} of ${runs.length} runs done`);
  if (bad[0]) console.log(`  one of the others:\n${describeRun(bad[0])}`);
  for (const pause of await pausesOf(client, bad)) console.log(`      ${describePause(pause)}`);
  return accepted.length === count && bad.length === 0;
}

async function postSigned(url: string, event: ReceivedEvent, options: PostOptions): Promise<Sent> {
  try {
    const { status, text } = await postEvent(url, event, options);
    return { id: options.id, status, answer: text.trim() };
  } catch (error) {
    // Bun's message for a closed port is longer than its code, and adds nothing.
    const { code } = error as { code?: unknown };
    const reason = code === "ECONNREFUSED" ? code : messageOf(error);
    throw new UserError(`Nothing answers at ${url} (${reason}). Is the server running? ${COMMAND} dev`);
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
  const overrides = data === undefined ? undefined : readObject(data, "--data");
  if (file !== undefined) {
    if (name !== undefined) throw new UserError(`--file is the event to send: leave ${name} out`);
    const event: unknown = readObject(readText(file), file);
    if (!isEvent(event)) throw new UserError(`${file} is not an event: it needs a string "type" and an object "data"`);
    return () => ({ ...event, data: mergeDeep(event.data, overrides ?? {}) as ReceivedEvent["data"] });
  }
  if (name === undefined)
    throw new UserError(`Which event? For example: ${COMMAND} send user.created\n\n${eventList()}`);
  const known = eventNames.find((eventName) => eventName === name);
  if (!known) throw new UserError(`Clerk has no event ${name}${didYouMean(name, eventNames, `\n\n${eventList()}`)}`);
  // The data is what a person typed, of any shape.
  return () => sample(known, overrides ? { overrides: { data: overrides } as never } : {});
}

/** A field that Clerk does not send is sent nevertheless: it may be newer than this version. */
async function warnOfUnknownFields(type: string, data: string) {
  const { fieldsOf } = await import("../clerk/fields.ts");
  const known = fieldsOf(type as KnownEventName);
  for (const field of Object.keys(readObject(data, "--data")))
    if (!known.includes(field))
      console.error(`${type} has no field ${printable(field)}, which is sent nevertheless${didYouMean(field, known)}`);
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
    // Editors on Windows write a byte order mark, which JSON does not allow.
    return readFileSync(file, "utf8").replace(/^\uFEFF/, "");
  } catch (error) {
    throw new UserError(`${file} can't be read: ${messageOf(error)}`);
  }
}

function readObject(text: string, where: string): Record<string, unknown> {
  try {
    return parseObject(text);
  } catch (error) {
    throw new UserError(`${where} ${messageOf(error)}`);
  }
}

/** Reports a server that stops while the command waits. */
function gone(): never {
  throw new UserError("The server stopped meanwhile. Accepted deliveries are stored, and run after its next start.");
}
