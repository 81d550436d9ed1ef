// A real MCP client of a server's inspector.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

export interface McpClient extends AsyncDisposable {
  tools(): Promise<{ name: string; description?: string | undefined }[]>;
  /** The text of a tool's answer. */
  call(name: string, args?: Record<string, unknown>): Promise<{ text: string; isError: boolean }>;
}

export async function connectMcp(inspectorUrl: string, token: string): Promise<McpClient> {
  const client = new Client({ name: "test", version: "1.0.0" });
  const headers = { authorization: `Bearer ${token}` };
  await client.connect(new StreamableHTTPClientTransport(new URL("/mcp", inspectorUrl), { requestInit: { headers } }));
  return {
    tools: async () => (await client.listTools()).tools,
    async call(name, args = {}) {
      const { content, isError = false } = await client.callTool({ name, arguments: args });
      const [first] = content as { type: string; text?: string }[];
      return { text: first?.text ?? "", isError };
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}
