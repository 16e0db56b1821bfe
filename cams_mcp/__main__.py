"""`python -m cams_mcp` is the same program as the console script `cams-mcp`."""

from cams_mcp.cli import main

if __name__ == "__main__":
    main()
