"""Settings of the tests' stack: an installation's own, but that hashing a password takes no time.

Hundreds of people are made and signed in; each hash takes a third of a second with as many iterations as
Django asks for.
"""

from __future__ import annotations

from settings.standalone import *  # noqa: F403  an installation's, with one name changed

PASSWORD_HASHERS = ["tests.hashers.QuickHasher"]
