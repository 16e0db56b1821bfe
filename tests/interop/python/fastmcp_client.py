"""FastMCP's client."""

import asyncio
from typing import Any

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport
from job import JOB, SERVER, Person, Script, play, report


async def main() -> None:
    person = Person()

    async def answer(message: str, response_type: Any, params: Any, context: Any) -> ElicitResult[Any]:
        action, content = person.answer(message)
        return ElicitResult(action=action, content=content)

    target = SERVER["url"] if "url" in SERVER else StdioTransport(SERVER["command"], SERVER["args"])
    asks = {"elicitation_handler": answer} if JOB["asks"] else {}
    async with Client(target, mode=JOB["mode"], **asks) as client:

        async def call(tool: str, arguments: dict[str, Any]) -> str:
            result = await client.call_tool(tool, arguments, raise_on_error=False)
            return "\n".join(block.text for block in result.content)

        tools = [tool.name for tool in await client.list_tools()]
        results = await play(Script(), call, tools)
        report(tools, results, person)


asyncio.run(main())
