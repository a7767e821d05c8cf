"""Who may call which tool with what: judged by Rego policies, in this process or by an OPA server."""
