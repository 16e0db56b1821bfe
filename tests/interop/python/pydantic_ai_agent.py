"""An agent of Pydantic AI whose model is a script."""

import asyncio
from typing import Any

from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport
from job import JOB, SERVER, Person, Script, report
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, RetryPromptPart, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel


def results_in(messages: list[ModelMessage]) -> list[str]:
    parts = [part for message in messages for part in message.parts]
    texts = []
    for part in parts:
        if isinstance(part, ToolReturnPart):
            texts.append(part.model_response_str())
        elif isinstance(part, RetryPromptPart):
            texts.append(str(part.content))
    return texts


async def main() -> None:
    person, script = Person(), Script()

    async def answer(message: str, response_type: Any, params: Any, context: Any) -> ElicitResult[Any]:
        action, content = person.answer(message)
        return ElicitResult(action=action, content=content)

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        step = script.next(results_in(messages), [tool.name for tool in info.function_tools])
        return ModelResponse(parts=[ToolCallPart(*step) if step else TextPart("done")])

    target = SERVER["url"] if "url" in SERVER else StdioTransport(SERVER["command"], SERVER["args"])
    asks = {"elicitation_handler": answer} if JOB["asks"] else {}
    agent = Agent(FunctionModel(model), toolsets=[MCPToolset(target, **asks)])
    async with agent:
        run = await agent.run("Do the job.")
    report(script.offered, results_in(run.all_messages()), person)


asyncio.run(main())
