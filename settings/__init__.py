"""Configuration: every setting, where it is looked up, and the Django settings made of them.

Only entry points import this package (``manage.py``, ``somaagent.asgi``, ``somaagent.celery``, the
orchestrator's); all other code reads ``django.conf.settings``. Importing it loads nothing heavy.
"""

from __future__ import annotations

import os

from settings.environment import read_file

MODULES = {"STANDALONE": "settings.standalone", "SAAS": "settings.saas"}


def module_for_environment() -> str:
    """The dotted path of the settings module that ``SA01_DEPLOYMENT_MODE`` names.

    Where the mode is unset or unknown the process ends with status 1 and a message that names the
    allowed values together with every other problem of the configuration.
    """
    mode = os.environ.get("SA01_DEPLOYMENT_MODE", "")
    if not mode and os.environ.get("SA01_ENV_FILE"):
        mode = read_file(os.environ["SA01_ENV_FILE"]).values.get("SA01_DEPLOYMENT_MODE", "")
    if mode in MODULES:
        return MODULES[mode]
    # Only for the list of all problems; it brings the Vault client, which is heavy.
    from settings.loader import boot  # noqa: PLC0415  kept off the way of a boot that goes well

    return MODULES[boot().mode]
