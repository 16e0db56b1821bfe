// The TypeScript SDK v1 (@modelcontextprotocol/sdk).
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { answer, doJob, job } from "./job.mjs";

const client = new Client(
  { name: "typescript-v1", version: "1" },
  { capabilities: job.asks ? { elicitation: { form: {} } } : {} },
);
if (job.asks) client.setRequestHandler(ElicitRequestSchema, async (request) => answer(request));

let protocol;
const transport = job.server.url
  ? new StreamableHTTPClientTransport(new URL(job.server.url))
  : new StdioClientTransport(job.server);
// The SDK keeps the version to itself; it hands it to the transport.
const keep = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
  protocol = version;
  keep?.(version);
};
await client.connect(transport);
await doJob(client, () => protocol);
