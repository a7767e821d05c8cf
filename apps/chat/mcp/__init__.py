"""SomaAgent as an MCP server: the tenant's agents and tools, for clients of the Model Context Protocol."""
