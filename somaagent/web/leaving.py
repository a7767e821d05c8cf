"""How the server tells that a client left."""

from __future__ import annotations

# In an ASGI scope: a function that takes what to call when the request's client leaves, and gives what
# forgets it. Where a server has none, ``receive`` tells.
WHEN_LEFT = "somaagent.when_left"
