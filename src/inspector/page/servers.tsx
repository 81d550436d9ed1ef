// The servers that share an inbox in Postgres. Shows nothing with an inbox in SQLite.

import { useSignal, useSignalEffect } from "@preact/signals";

import type { ServerRowJson } from "../../api/server-types.ts";
import { api } from "./api.ts";
import { Ago } from "./components.tsx";

const EVERY_MS = 2_000;

export function Servers() {
  const servers = useSignal<readonly ServerRowJson[]>([]);
  useSignalEffect(() => {
    const load = async () => {
      if (!document.hidden) servers.value = await api.servers().catch(() => servers.peek());
    };
    void load();
    const timer = setInterval(() => void load(), EVERY_MS);
    return () => clearInterval(timer);
  });
  if (servers.value.length === 0) return null;
  return (
    <>
      <h2>Servers of this inbox</h2>
      <p class="faint">
        The attempts, durations and last errors above are of this server. What is dead or waits is counted for all
        servers.
      </p>
      <div class="scroll-x" tabIndex={0} role="region" aria-label="Servers of this inbox">
        <table class="plain">
          <thead>
            <tr>
              <th scope="col">Host</th>
              <th scope="col">Version</th>
              <th scope="col">Started</th>
              <th scope="col" class="amount">
                Running
              </th>
              <th scope="col">Last beat</th>
              <th scope="col">Handlers that differ</th>
            </tr>
          </thead>
          <tbody>
            {servers.value.map((server) => (
              <Server key={server.id} server={server} />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Server({ server }: { server: ServerRowJson }) {
  const { host, pid, version, startedAt, running, seenAgo, isThis, more, missing } = server;
  const differs = [...more.map((name) => `+ ${name}`), ...missing.map((name) => `− ${name}`)];
  return (
    <tr>
      <td>
        {host} <span class="faint">{isThis ? "this server" : `pid ${pid}`}</span>
      </td>
      <td>{version}</td>
      <td>
        <Ago at={startedAt} />
      </td>
      <td class="amount">{running}</td>
      <td>{isThis ? "–" : <Ago at={Date.now() - seenAgo} />}</td>
      <td>{differs.length === 0 ? <span class="faint">none</span> : <code>{differs.join(", ")}</code>}</td>
    </tr>
  );
}
