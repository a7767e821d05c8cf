"""What can go wrong between a process and its secrets, each with a sentence and a command of its own."""

# ruff: noqa: N818  each is named for what happened, and caught by that name

from __future__ import annotations


class VaultError(Exception):
    """A secret could not be had. ``message`` says why, ``mend`` is the command that mends it."""

    def __init__(self, message: str, *, mend: str) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend


class VaultUnreachable(VaultError):
    """Nothing answered at the address in time, or what answered could not be spoken with."""


class VaultSealed(VaultError):
    """Vault answered, but is sealed or was never initialised."""


class VaultLoginRefused(VaultError):
    """The credentials are missing, wrong or out of date."""


class VaultDenied(VaultError):
    """Logged in, but the policy does not allow what was asked."""


class SecretMissing(VaultError):
    """There is no such secret. The common base of a missing path and a missing key."""


class PathMissing(SecretMissing):
    """Nothing is stored under the path, or its last version was deleted."""


class KeyMissing(SecretMissing):
    """The path is there, the key in it is not."""


class TransitMissing(VaultError):
    """Vault has no transit engine, or no key in it, for what tenants entrust to us."""


class SealBroken(VaultError):
    """A stored secret was changed, or sealed for something else or by another Vault."""
