"""Envelope encryption of what tenants entrust to us: a data key from Vault's transit engine, AES-GCM here.

Vault makes a data key for a tenant and hands it out twice: in plain, and wrapped under a key that never
leaves Vault, derived for that tenant (Vault, "Transit secrets engine": derived keys, ``datakey/plaintext``).
What is encrypted here carries the wrapped data key with it, so that it can be opened for as long as Vault has
the version of its key that wrapped it. Opened data keys stay in memory for a while: no turn waits for Vault.
"""

from __future__ import annotations

import base64
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from settings.vault_errors import SealBroken

FORM = "soma1"
"""The form of a sealed text: ``soma1.WRAPPED.NONCE+CIPHERTEXT``, the last two in URL-safe base64."""
KEPT_SECONDS = 3600.0
MOST_KEPT = 1024
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2.2: 96 random bits, for at most 2**32 messages under one key
_TAG_BYTES = 16
K = TypeVar("K")
_PURPOSE = re.compile(r"[a-z][a-z0-9_.]{0,63}")


@dataclass(frozen=True, slots=True)
class Whose:
    """What a sealed text belongs to: it opens for exactly this tenant, purpose and row."""

    tenant_id: UUID
    purpose: str
    row_id: UUID

    def __post_init__(self) -> None:
        if not _PURPOSE.fullmatch(self.purpose):
            raise ValueError(f"{self.purpose!r} is no purpose: it is written like model_profile.api_key.")

    def associated(self) -> bytes:
        # Neither a UUID nor a purpose holds a slash, so that no two of these read alike.
        return f"{FORM}/{self.tenant_id}/{self.purpose}/{self.row_id}".encode()


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key of 256 bits as Vault wrapped it (``vault:v1:…``), and the cipher that it makes."""

    wrapped: str
    cipher: AESGCM


Make = Callable[[UUID], tuple[bytes, str]]
"""Asks Vault for a new data key of a tenant: in plain, and wrapped. Raises a ``VaultError``."""
Unwrap = Callable[[UUID, str], bytes]
"""Asks Vault for the data key that it wrapped for a tenant. Raises a ``VaultError``."""


class Envelopes:
    """Seals and opens texts. Safe for threads; two at once may both ask Vault, which does no harm."""

    def __init__(self, make: Make, unwrap: Unwrap) -> None:
        self._make, self._unwrap = make, unwrap
        self._newest: _Kept[UUID] = _Kept()
        self._opened: _Kept[tuple[UUID, str]] = _Kept()

    def seal(self, text: str, whose: Whose) -> str:
        """*text* encrypted for *whose* alone, as ASCII. Raises a ``VaultError``."""
        key = self._newest.get(whose.tenant_id)
        if key is None:
            plain, wrapped = self._make(whose.tenant_id)
            key = DataKey(wrapped, AESGCM(plain))
            self._newest.put(whose.tenant_id, key)
            self._opened.put((whose.tenant_id, wrapped), key)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + key.cipher.encrypt(nonce, text.encode(), whose.associated())
        return f"{FORM}.{_armoured(key.wrapped.encode())}.{_armoured(sealed)}"

    def open(self, sealed: str, whose: Whose) -> str:
        """What was sealed for *whose*. Raises ``SealBroken`` for anything else, and other ``VaultError``s."""
        wrapped, body = _parts(sealed, whose)
        key = self._opened.get((whose.tenant_id, wrapped))
        if key is None:
            key = DataKey(wrapped, AESGCM(self._unwrap(whose.tenant_id, wrapped)))
            self._opened.put((whose.tenant_id, wrapped), key)
        try:
            plain = key.cipher.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], whose.associated())
        except InvalidTag as error:
            raise broken(whose.purpose) from error
        return plain.decode()

    def forget(self) -> None:
        """Drops every data key from memory: the next use asks Vault."""
        self._newest, self._opened = _Kept(), _Kept()


def broken(purpose: str) -> SealBroken:
    """What is stored was changed, or was sealed for something else, or by another Vault."""
    return SealBroken(
        f"A stored secret ({purpose}) cannot be opened: it was changed, or sealed for another row or by "
        "another Vault. Set it again.",
        mend="python manage.py check_config",
    )


def _armoured(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _parts(sealed: str, whose: Whose) -> tuple[str, bytes]:
    """The wrapped data key, and nonce with ciphertext."""
    form, _, rest = sealed.partition(".")
    wrapped, _, body = rest.partition(".")
    if form != FORM:
        raise broken(whose.purpose)
    try:
        decoded = base64.b64decode(body, altchars=b"-_", validate=True)
        name = base64.b64decode(wrapped, altchars=b"-_", validate=True).decode("ascii")
    except ValueError as error:
        raise broken(whose.purpose) from error
    if len(decoded) < _NONCE_BYTES + _TAG_BYTES:
        raise broken(whose.purpose)
    return name, decoded


class _Kept(Generic[K]):
    """Data keys by *K*: each for ``KEPT_SECONDS`` at most, and the ``MOST_KEPT`` that were used last."""

    def __init__(self) -> None:
        self._keys: OrderedDict[K, tuple[DataKey, float]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: K) -> DataKey | None:
        with self._lock:
            kept = self._keys.get(name)
            if kept is None:
                return None
            if kept[1] < time.monotonic():
                del self._keys[name]
                return None
            self._keys.move_to_end(name)
            return kept[0]

    def put(self, name: K, key: DataKey) -> None:
        with self._lock:
            self._keys[name] = key, time.monotonic() + KEPT_SECONDS
            self._keys.move_to_end(name)
            while len(self._keys) > MOST_KEPT:
                self._keys.popitem(last=False)
