"""Data keys from Vault's transit engine ("Transit secrets engine", derived keys): made, wrapped, opened."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from hvac import exceptions

from settings.vault_errors import SealBroken, TransitMissing, VaultDenied
from settings.vault_session import VaultSession, translated

TRANSIT_KEY = "somaagent"
"""The key under which tenants' data keys are wrapped; Vault derives another from it for each tenant."""


def transit_mount(mount: str) -> str:
    """Where the transit engine stands that belongs to the KV mount *mount*."""
    return f"{mount}-transit"


def new_data_key(session: VaultSession, tenant_id: UUID) -> tuple[bytes, str]:
    """A new data key of a tenant, of 256 bits: in plain, and wrapped (``vault:v1:…``)."""
    with _transit(session, tenant_id) as (transit, about):
        answer = transit.generate_data_key(key_type="plaintext", bits=256, **about)
    return base64.b64decode(answer["data"]["plaintext"]), str(answer["data"]["ciphertext"])


def unwrapped(session: VaultSession, tenant_id: UUID, wrapped: str) -> bytes:
    """The data key that was wrapped for a tenant. Raises ``SealBroken`` for what was not."""
    with _transit(session, tenant_id) as (transit, about):
        answer = transit.decrypt_data(ciphertext=wrapped, **about)
    return base64.b64decode(answer["data"]["plaintext"])


@contextmanager
def _transit(session: VaultSession, tenant_id: UUID) -> Iterator[tuple[Any, dict[str, str]]]:
    """hvac's transit engine and what every call of it says; the context is what the key is derived from."""
    mount = transit_mount(session.connection.mount)
    about = {
        "name": TRANSIT_KEY,
        "context": base64.b64encode(str(tenant_id).encode()).decode(),
        "mount_point": mount,
    }
    with translated(session.connection):
        try:
            yield session.client.secrets.transit, about
        except (exceptions.Forbidden, exceptions.Unauthorized) as error:
            raise VaultDenied(
                f"Vault's policy does not let this process use the key {mount}/{TRANSIT_KEY}.",
                mend="python manage.py bootstrap_vault",
            ) from error
        except exceptions.InvalidPath as error:
            raise _missing(mount) from error
        except exceptions.InvalidRequest as error:
            if any("key not found" in text for text in error.errors or ()):
                raise _missing(mount) from error
            raise SealBroken(
                f"Vault cannot open what is said to be sealed with {mount}/{TRANSIT_KEY}: it was changed, or "
                "sealed for another tenant, by another Vault or under a version that is gone.",
                mend=f"bao read {mount}/keys/{TRANSIT_KEY}",
            ) from error


def _missing(mount: str) -> TransitMissing:
    return TransitMissing(
        f"Vault has no transit key {mount}/{TRANSIT_KEY}.", mend="python manage.py bootstrap_vault"
    )
