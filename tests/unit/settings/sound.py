"""An environment in which every setting that has to be said is said, without a Vault to ask."""

from __future__ import annotations

from pathlib import Path

from settings.loader import Configuration, load

ROOT = Path(__file__).resolve().parents[3]

SOUND = {
    "SA01_DEPLOYMENT_MODE": "STANDALONE",
    "SA01_PUBLIC_URL": "http://agents.example.org:20080",
    "SA01_ALLOWED_HOSTS": "agents.example.org",
    "SA01_SECURE_COOKIES": "false",
    "SA01_GATEWAY_HOST": "gateway.example.org",
    "SA01_GATEWAY_PORT": "20080",
    "SA01_DB_HOST": "db.example.org",
    "SA01_DB_NAME": "soma",
    "SA01_DB_USER": "soma_app",
    "SA01_DB_OWNER_USER": "soma_owner",
    "SA01_VALKEY_HOST": "valkey.example.org",
    "SA01_VALKEY_PORT": "6379",
    "SA01_VAULT_ADDR": "http://vault.example.org:8200",
    "SA01_VAULT_AUTH": "approle",
    "SA01_VAULT_ROLE_ID": "a-role",
    "SA01_VAULT_SECRET_ID_FILE": "/run/secrets/app.secret-id",
}
SAAS = {
    **SOUND,
    "SA01_DEPLOYMENT_MODE": "SAAS",
    "SA01_PUBLIC_URL": "https://agents.example.org",
    "SA01_SECURE_COOKIES": "true",
}


def offline(environ: dict[str, str], **changes: str | None) -> Configuration:
    """The configuration of *environ* with *changes* (None takes a name away), looked up without a network."""
    changed = {**environ, **{name: text for name, text in changes.items() if text is not None}}
    return load(
        {name: text for name, text in changed.items() if changes.get(name, "") is not None}, online=False
    )


def complaints(configuration: Configuration) -> dict[str, str]:
    """What is wrong, by setting."""
    return {problem.setting: problem.message for problem in configuration.problems}
