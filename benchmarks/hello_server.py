"""A minimal SDK server, used as the benchmarks' baseline."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("hello")


@server.tool()
def hello(page_size: int = 20) -> dict[str, int]:
    """Echo the argument."""
    return {"page_size": page_size}


if __name__ == "__main__":
    server.run()
