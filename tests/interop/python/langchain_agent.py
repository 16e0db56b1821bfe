"""An agent of LangChain, with the tools of langchain-mcp-adapters, whose model is a script."""

import asyncio
from typing import Any

from job import JOB, SERVER, Person, Script, report
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp.types import ElicitResult


def results_in(messages: list[BaseMessage]) -> list[str]:
    return [str(message.text) for message in messages if isinstance(message, ToolMessage)]


class Scripted(BaseChatModel):
    script: Any
    tools: list[str] = []  # noqa: RUF012 - a pydantic field

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **more: Any) -> "Scripted":
        return self.model_copy(update={"tools": [tool.name for tool in tools]})

    def _generate(self, messages: list[BaseMessage], *rest: Any, **more: Any) -> ChatResult:
        results = results_in(messages)
        step = self.script.next(results, self.tools)
        calls = [{"name": step[0], "args": step[1], "id": f"call-{len(results)}"}] if step else []
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content="", tool_calls=calls))])


async def main() -> None:
    person, script = Person(), Script()

    async def answer(mcp_context: Any, params: Any, context: Any) -> ElicitResult:
        action, content = person.answer(params.message)
        return ElicitResult(action=action, content=content)

    connection: Any = {"transport": "http"} if "url" in SERVER else {"transport": "stdio"}
    callbacks = Callbacks(on_elicitation=answer) if JOB["asks"] else Callbacks()
    client = MultiServerMCPClient({"cams": connection | SERVER}, callbacks=callbacks)
    agent = create_agent(Scripted(script=script), await client.get_tools())
    run = await agent.ainvoke({"messages": [("user", "Do the job.")]})
    report(script.offered, results_in(run["messages"]), person)


asyncio.run(main())
