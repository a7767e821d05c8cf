"""Tools of MCP servers: which servers a tenant has, what they offer, and calls to them (docs/mcp.md)."""
