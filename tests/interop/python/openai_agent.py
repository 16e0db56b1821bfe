"""An agent of the OpenAI Agents SDK whose model is a script. The SDK's MCP servers take no elicitation callback."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Model, ModelResponse, Runner, Usage, set_tracing_disabled
from agents.mcp import MCPServerStdio, MCPServerStreamableHttp
from job import SERVER, Person, Script, report
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText


def text_of(output: Any) -> str:
    return output if isinstance(output, str) else "\n".join(part["text"] for part in output)


def results_in(items: Any) -> list[str]:
    if isinstance(items, str):
        return []
    texts = [text_of(item["output"]) for item in items if item.get("type") == "function_call_output"]
    # The SDK wraps the text of a single block.
    return [json.loads(text)["text"] if text.startswith('{"type":"text"') else text for text in texts]


class Scripted(Model):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def get_response(
        self,
        system_instructions: Any,
        input: Any,  # noqa: A002 - the name that the SDK passes
        model_settings: Any,
        tools: Any,
        *rest: Any,
        **more: Any,
    ) -> ModelResponse:
        results = results_in(input)
        step = self._script.next(results, [tool.name for tool in tools])
        number = str(len(results))
        if step:
            name, arguments = step
            output: Any = ResponseFunctionToolCall(
                type="function_call", call_id=f"call-{number}", name=name, arguments=json.dumps(arguments)
            )
        else:
            text = ResponseOutputText(type="output_text", text="done", annotations=[])
            output = ResponseOutputMessage(
                id=number, type="message", role="assistant", status="completed", content=[text]
            )
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    def stream_response(self, *arguments: Any, **more: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


async def main() -> None:
    set_tracing_disabled(disabled=True)
    script = Script()
    if "url" in SERVER:
        server: Any = MCPServerStreamableHttp({"url": SERVER["url"]}, client_session_timeout_seconds=30)
    else:
        server = MCPServerStdio(
            {"command": SERVER["command"], "args": SERVER["args"]}, client_session_timeout_seconds=30
        )
    async with server:
        agent = Agent(name="scripted", model=Scripted(script), mcp_servers=[server])
        run = await Runner.run(agent, "Do the job.")
    report(script.offered, results_in(run.to_input_list()), Person())


asyncio.run(main())
