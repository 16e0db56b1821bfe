// The TypeScript SDK v2 (@modelcontextprotocol/client).
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { answer, doJob, job } from "./job.mjs";

const client = new Client(
  { name: "typescript-v2", version: "2" },
  {
    capabilities: job.asks ? { elicitation: { form: {} } } : {},
    versionNegotiation: { mode: job.mode },
  },
);
if (job.asks) client.setRequestHandler("elicitation/create", async (request) => answer(request));
await client.connect(
  job.server.url
    ? new StreamableHTTPClientTransport(new URL(job.server.url))
    : new StdioClientTransport(job.server),
);
await doJob(client, () => client.getNegotiatedProtocolVersion());
