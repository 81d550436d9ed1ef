// Stand-ins for the receivers of alerts, which speak the real protocols: HTTP, and SMTP over TLS.

import { join } from "node:path";

import { $ } from "bun";
import { SMTPServer } from "smtp-server";

import { temporaryFolder } from "../temporary-folder.ts";

export interface HttpReceiver extends Disposable {
  url: string;
  requests: { headers: Headers; body: string }[];
  /** The answers to the next requests; afterwards 200. */
  answers: { status: number; headers?: Record<string, string> }[];
}

export function httpReceiver(): HttpReceiver {
  const requests: HttpReceiver["requests"] = [];
  const answers: HttpReceiver["answers"] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      requests.push({ headers: request.headers, body: await request.text() });
      const { status, headers = {} } = answers.shift() ?? { status: 200 };
      return new Response("ok", { status, headers });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}/hook`,
    requests,
    answers,
    [Symbol.dispose]: () => void server.stop(true),
  };
}

export interface MailReceiver extends AsyncDisposable {
  port: number;
  /** The certificate of its authority. */
  ca: string;
  mails: { from: string; to: string[]; text: string }[];
}

/** A mail server with a certificate for `localhost`. Accepts the user `ops` with the password `pass/word`. */
export async function mailReceiver({ secure = true } = {}): Promise<MailReceiver> {
  await using folder = await temporaryFolder();
  const [key, cert] = [join(folder.path, "key.pem"), join(folder.path, "cert.pem")];
  await $`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout ${key} -out ${cert}`.quiet();
  const ca = await Bun.file(cert).text();
  const mails: MailReceiver["mails"] = [];
  const server = new SMTPServer({
    secure,
    key: await Bun.file(key).text(),
    cert: ca,
    onAuth({ username, password }, _, callback) {
      if (username === "ops" && password === "pass/word") callback(null, { user: username });
      else callback(new Error("wrong password"));
    },
    onData(stream, { envelope }, callback) {
      let text = "";
      stream.on("data", (part: Buffer) => (text += part.toString()));
      stream.on("end", () => {
        const from = envelope.mailFrom === false ? "" : envelope.mailFrom.address;
        mails.push({ from, to: envelope.rcptTo.map(({ address }) => address), text });
        callback();
      });
    },
  });
  server.on("error", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.server.address() as { port: number };
  return { port, ca, mails, [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(resolve)) };
}
