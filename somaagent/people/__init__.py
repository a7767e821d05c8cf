"""Who belongs to a tenant and with which credentials, over HTTP."""
