// The job that every peer does; see support_peers.py. What differs between the SDKs comes as arguments.

export const job = JSON.parse(process.argv[2]);

const text = (result) => result.content.map((block) => block.text).join("\n");

// The person behind the client: refuses the first question and confirms the second one.
export const questions = [];
export function answer(request) {
  questions.push(request.params.message);
  return questions.length === 1
    ? { action: "decline" }
    : { action: "accept", content: { confirm: true } };
}

export async function doJob(client, protocol) {
  const tools = (await client.listTools()).tools.map((tool) => tool.name);
  const read = await client.callTool(job.read);
  const refused = await client.callTool({ name: job.write, arguments: job.refused });
  let confirmed = await client.callTool({ name: job.write, arguments: job.confirmed });
  if (!job.asks) {
    const { confirmation_token } = confirmed.structuredContent;
    confirmed = await client.callTool({ name: job.write, arguments: { ...job.confirmed, confirmation_token } });
  }
  const report = {
    protocol: protocol(),
    tools,
    read: read.structuredContent,
    questions,
    refused: text(refused),
    confirmed: confirmed.structuredContent ?? text(confirmed),
  };
  await client.close();
  console.log(JSON.stringify(report));
}
