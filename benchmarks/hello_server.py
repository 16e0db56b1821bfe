"""The smallest server of the SDK: what the benchmarks compare with."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("hello")


@server.tool()
def hello(page_size: int = 20) -> dict[str, int]:
    """Answer with what was asked."""
    return {"page_size": page_size}


if __name__ == "__main__":
    server.run()
