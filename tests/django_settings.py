"""Settings of the tests' stack: an installation's own in the mode of the run (``SOMA_TEST_MODE``), but that
hashing a password takes no time, and that there are many tenants in either mode.

Hundreds of people are made and signed in; each hash takes a third of a second with as many iterations as
Django asks for. Nearly every story has a tenant of its own; that STANDALONE has room for one alone is told in
``tests/integration/portable/test_moving.py``, with the mode's own settings.
"""

from __future__ import annotations

from settings import MODULES, module_for_environment

if module_for_environment() == MODULES["SAAS"]:
    from settings.saas import *  # noqa: F403  an installation's, with two names changed
else:
    from settings.standalone import *  # noqa: F403  as above

MANY_TENANTS = True
PASSWORD_HASHERS = ["tests.hashers.QuickHasher"]
