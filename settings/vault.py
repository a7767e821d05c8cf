"""The second source: secrets, from Vault's KV v2 and from nowhere else; and tenants' own, sealed by its keys.

``SecretReader`` is what ``django.conf.settings.SECRETS`` holds: it caches what it read for the life of the
process and keeps its token alive from a thread of its own, in every process that reads, also after a fork.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

import stamina

from settings.envelope import Envelopes, Whose
from settings.masks import Masks
from settings.secret import Secret
from settings.vault_errors import (
    KeyMissing,
    PathMissing,
    SealBroken,
    SecretMissing,
    TransitMissing,
    VaultDenied,
    VaultError,
    VaultLoginRefused,
    VaultSealed,
    VaultUnreachable,
)
from settings.vault_session import KUBERNETES_TOKEN_FILE, Lease, VaultConnection, VaultSession
from settings.vault_transit import TRANSIT_KEY, new_data_key, transit_mount, unwrapped

__all__ = [
    "KUBERNETES_TOKEN_FILE",
    "KeyMissing",
    "Lease",
    "PathMissing",
    "SealBroken",
    "SecretMissing",
    "SecretReader",
    "TransitMissing",
    "VaultConnection",
    "VaultDenied",
    "VaultError",
    "VaultLoginRefused",
    "VaultSealed",
    "VaultUnreachable",
]

log = logging.getLogger(__name__)
T = TypeVar("T")
_readers: weakref.WeakSet[SecretReader] = weakref.WeakSet()


class SecretReader:
    """Reads secrets as this process; safe to use from any thread and after a fork."""

    Error = VaultError

    def __init__(self, connection: VaultConnection) -> None:
        self._session = VaultSession(connection)
        self._cache: dict[str, dict[str, Secret]] = {}
        self._lease: Lease | None = None
        self._thread: threading.Thread | None = None
        self._expires = 0.0
        self._last_error = ""
        self._masks = Masks()
        self._envelopes = Envelopes(self._new_data_key, self._unwrapped)
        self._fresh_process()
        _readers.add(self)

    def __repr__(self) -> str:
        return f"<SecretReader {self._session.connection.address}>"

    def open(self, patience: float) -> None:
        """Logs in, trying again with back-off for *patience* seconds while Vault is unreachable or sealed."""
        attempts = stamina.retry_context(
            on=(VaultUnreachable, VaultSealed),
            attempts=None if patience > 0 else 1,
            timeout=patience if patience > 0 else None,
            wait_initial=0.2,
            wait_max=3.0,
            wait_jitter=0.2,
        )
        for attempt in attempts:
            with attempt, self._lock:
                self._login()

    def encrypt(self, text: str, *, tenant_id: UUID, purpose: str, row_id: UUID) -> str:
        """*text* sealed for this tenant, purpose (``model_profile.api_key``) and row, for a column of text.

        Asks Vault when the tenant has no data key in memory (``settings.envelope``). Raises a ``VaultError``.
        """
        return self._envelopes.seal(text, Whose(tenant_id, purpose, row_id))

    def decrypt(self, sealed: str, *, tenant_id: UUID, purpose: str, row_id: UUID) -> str:
        """What was sealed for exactly these three. Raises ``SealBroken`` for others, and ``VaultError``s.

        Asks Vault when the data key is not in memory. The text is masked in logs from now on.
        """
        text = self._envelopes.open(sealed, Whose(tenant_id, purpose, row_id))
        self._masks.add_passing(Secret(text))
        return text

    def check_sealing(self) -> None:
        """Has Vault make and open a data key, whatever is in memory. Raises a ``VaultError``."""
        nobody = UUID(int=0)
        plain, wrapped = self._new_data_key(nobody)
        if self._unwrapped(nobody, wrapped) != plain:
            raise SealBroken("Vault did not give back the data key that it made.", mend="bao status")

    @property
    def sealing_key(self) -> str:
        """The name of the key in Vault that tenants' data keys are wrapped with."""
        return f"{transit_mount(self._session.connection.mount)}/{TRANSIT_KEY}"

    def read(self, path: str, key: str) -> str:
        """The secret *key* under *path* of the mount, from the cache after the first time.

        Raises a ``VaultError``: ``PathMissing`` and ``KeyMissing`` (both ``SecretMissing``), ``VaultDenied``,
        ``VaultLoginRefused``, ``VaultSealed`` or ``VaultUnreachable``.
        """
        self._keep_alive()
        known = self._cache.get(path, {})
        if key not in known:
            # What is missing is not cached: an operator may have set it a moment ago.
            known = self._fetch(path)
        if key not in known:
            mount = self._session.connection.mount
            raise KeyMissing(
                f"{mount}/{path} in Vault has no key {key}.", mend="python manage.py bootstrap_vault"
            )
        return known[key].reveal()

    def remembered(self, path: str, key: str) -> str | None:
        """``read``, if this process has read it before; it never asks Vault."""
        secret = self._cache.get(path, {}).get(key)
        return None if secret is None else secret.reveal()

    def forget(self, path: str) -> None:
        """Reads *path* anew the next time, because its value was changed or turned out to be wrong."""
        self._cache.pop(path, None)

    def masked(self, text: str) -> str:
        """*text* with every secret that this process knows replaced, as itself, escaped or quoted."""
        return self._masks.masked(text)

    def token_seconds_left(self) -> float | None:
        """How long the token lives if it is not renewed; None if it lives for ever or there is none yet."""
        if self._lease is None or self._lease.seconds == 0:
            return None
        return max(0.0, self._expires - time.monotonic())

    def last_error(self) -> str:
        """Why the last renewal did not succeed; empty if it did."""
        return self._last_error

    def lease(self) -> Lease:
        """What Vault says of the token now. Raises a ``VaultError``."""
        with self._lock:
            return self._session.lookup()

    def close(self) -> None:
        """Ends the renewal. The token runs out by itself."""
        self._closed = True
        self._wake.set()

    # -- below: callers hold the lock, unless said otherwise ------------------------------------------------

    def _login(self) -> None:
        try:
            self._hold(self._session.login())
        finally:
            self._masks.add(self._session.known())

    def _hold(self, lease: Lease) -> None:
        self._lease = lease
        self._expires = time.monotonic() + lease.seconds
        self._last_error = ""
        self._wake.set()

    def _fetch(self, path: str) -> dict[str, Secret]:
        """Reads *path* and caches it."""
        document = self._ask(lambda session: session.read(path))
        with self._lock:
            self._cache[path] = document
            self._masks.add(document.values())
        return document

    def _ask(self, question: Callable[[VaultSession], T]) -> T:
        """Asks Vault with a token that it knows. Takes the lock."""
        self._keep_alive()
        with self._lock:
            fresh = self._lease is None
            if fresh:
                self._login()
            try:
                return question(self._session)
            except VaultDenied:
                # Vault gives the same answer to a token that it no longer knows.
                if fresh or self._token_is_known():
                    raise
                self._login()
                return question(self._session)

    def _new_data_key(self, tenant_id: UUID) -> tuple[bytes, str]:
        return self._ask(lambda session: new_data_key(session, tenant_id))

    def _unwrapped(self, tenant_id: UUID, wrapped: str) -> bytes:
        return self._ask(lambda session: unwrapped(session, tenant_id, wrapped))

    def _token_is_known(self) -> bool:
        try:
            self._session.lookup()
        except VaultLoginRefused:
            return False
        return True

    def _keep_alive(self) -> None:
        """Starts this process's renewal thread, once. Takes the lock."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_for_ever, name="vault-token", daemon=True)
                self._thread.start()

    def _renew_for_ever(self) -> None:
        """The thread: wakes at half of the lease, or soon after a failure. Takes the lock."""
        while not self._closed:
            if self._wake.wait(self._pause()):
                self._wake.clear()  # another lease to wait for, or the end
                continue
            with self._lock:
                if self._lease is None or self._lease.seconds == 0:
                    continue
                try:
                    self._prolong(self._lease)
                except VaultError as error:
                    self._last_error = error.message
                    log.warning("The Vault token could not be renewed: %s", error.message)

    def _pause(self) -> float:
        if self._lease is None or self._lease.seconds == 0:
            return 60.0
        if self._last_error:
            return min(max(self._lease.seconds / 10, 0.2), 30.0)
        return max((self._expires - time.monotonic()) / 2, 0.1)

    def _prolong(self, lease: Lease) -> None:
        if lease.renewable:
            try:
                renewed = self._session.renew()
            except VaultLoginRefused:
                log.info("Vault no longer knows the token: logging in again.")
            else:
                # A much shorter lease means that the token nears the end that its role set.
                if renewed.seconds == 0 or renewed.seconds * 2 >= lease.seconds:
                    self._hold(Lease(renewed.seconds, renewed.renewable, renewed.policies))
                    return
        self._login()

    def _fresh_process(self) -> None:
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._closed = False
        self._thread = None

    def _after_fork(self) -> None:
        # A lock that another thread of the parent held, and its thread, did not come along; its sockets did.
        self._fresh_process()
        self._masks.fresh_process()
        self._envelopes.forget()
        self._session.reconnect()


def _after_fork_in_child() -> None:
    for reader in list(_readers):
        reader._after_fork()  # noqa: SLF001  same module: the class registers itself here


os.register_at_fork(after_in_child=_after_fork_in_child)
