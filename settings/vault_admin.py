"""What an operator may do in Vault that the application may not: mounts, policies, logins, writing secrets.

Logged in with the token in ``SA01_VAULT_OPERATOR_TOKEN_FILE``. Every method is idempotent and says whether it
changed anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hvac import exceptions

from settings.vault_errors import VaultDenied, VaultError
from settings.vault_session import VaultConnection, open_client, read_credential, translated
from settings.vault_transit import TRANSIT_KEY, transit_mount

APPROLE = "approle"
TRANSIT_TYPE = "aes256-gcm96"
KV_OPTIONS = {"version": "2"}


class VaultOperator:
    """An operator's session on the mount of *connection*. Errors are ``VaultError``s."""

    def __init__(self, connection: VaultConnection) -> None:
        self._connection = connection
        self._token = read_credential(connection.token_file, "The operator's token")
        self._client = open_client(connection, self._token.reveal())
        self.mount = connection.mount

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        with translated(self._connection):
            try:
                yield
            except (exceptions.Forbidden, exceptions.Unauthorized) as error:
                raise VaultDenied(
                    f"the operator's token in {self._connection.token_file} may not {what}.",
                    mend=f"bao token lookup - < {self._connection.token_file}",
                ) from error
            except (exceptions.InvalidRequest, exceptions.InvalidPath) as error:
                raise VaultError(
                    f"Vault refused to {what}: {', '.join(error.errors or ['no reason given'])}.",
                    mend="bao secrets list -detailed",
                ) from error

    # -- mounts, policies, roles -----------------------------------------------------------------------------

    def mount_kv(self) -> bool:
        """Makes the KV v2 mount. Raises ``VaultError`` if something else is mounted there."""
        with self._asking(f"mount KV at {self.mount}"):
            mounts = self._client.sys.list_mounted_secrets_engines()["data"]
            there = mounts.get(f"{self.mount}/")
            if there is None:
                self._client.sys.enable_secrets_engine("kv", path=self.mount, options=KV_OPTIONS)
                return True
        if there["type"] != "kv" or (there.get("options") or {}).get("version") != "2":
            raise VaultError(
                f"what is mounted at {self.mount} is not KV version 2.",
                mend="export SA01_VAULT_MOUNT=another-name",
            )
        return False

    def mount_transit(self) -> bool:
        """Mounts the transit engine beside the KV mount."""
        path = transit_mount(self.mount)
        with self._asking(f"mount transit at {path}"):
            there = self._client.sys.list_mounted_secrets_engines()["data"].get(f"{path}/")
            if there is None:
                self._client.sys.enable_secrets_engine("transit", path=path)
                return True
        if there["type"] != "transit":
            raise VaultError(
                f"what is mounted at {path} is not transit.", mend="export SA01_VAULT_MOUNT=another-name"
            )
        return False

    def make_transit_key(self) -> bool:
        """Makes the key that tenants' data keys are wrapped with. Raises ``VaultError`` for another kind."""
        transit, mount = self._client.secrets.transit, transit_mount(self.mount)
        with self._asking(f"make the key {mount}/{TRANSIT_KEY}"):
            try:
                there = transit.read_key(TRANSIT_KEY, mount_point=mount)["data"]
            except exceptions.InvalidPath:
                transit.create_key(TRANSIT_KEY, derived=True, key_type=TRANSIT_TYPE, mount_point=mount)
                return True
        if there["type"] != TRANSIT_TYPE or not there["derived"]:
            raise VaultError(
                f"the key {mount}/{TRANSIT_KEY} is not of the type {TRANSIT_TYPE} and derived.",
                mend=f"bao read {mount}/keys/{TRANSIT_KEY}",
            )
        return False

    def rotate_transit_key(self) -> int:
        """A new version of that key, for what is sealed from now on. Gives its number."""
        transit, mount = self._client.secrets.transit, transit_mount(self.mount)
        with self._asking(f"rotate the key {mount}/{TRANSIT_KEY}"):
            transit.rotate_key(TRANSIT_KEY, mount_point=mount)
            return int(transit.read_key(TRANSIT_KEY, mount_point=mount)["data"]["latest_version"])

    def enable_approle(self) -> bool:
        """Turns the AppRole login on."""
        with self._asking("enable the AppRole login"):
            if f"{APPROLE}/" in self._client.sys.list_auth_methods()["data"]:
                return False
            self._client.sys.enable_auth_method(APPROLE, path=APPROLE)
            return True

    def put_policy(self, name: str, text: str) -> bool:
        """Makes the policy *name* say *text*."""
        with self._asking(f"write the policy {name}"):
            try:
                if self._client.sys.read_policy(name)["data"]["rules"] == text:
                    return False
            except exceptions.InvalidPath:
                pass  # not there yet: written below
            self._client.sys.create_or_update_policy(name, text)
            return True

    def put_approle(self, name: str, facts: Mapping[str, Any]) -> bool:
        """Makes the AppRole *name* have *facts*; those that are not named keep what they are."""
        with self._asking(f"write the AppRole {name}"):
            try:
                there = self._client.auth.approle.read_role(name)["data"]
                if all(there.get(key) == value for key, value in facts.items()):
                    return False
            except exceptions.InvalidPath:
                pass  # not there yet: written below
            self._client.auth.approle.create_or_update_approle(name, **facts)
            return True

    def role_id(self, name: str) -> str:
        with self._asking(f"read the role id of {name}"):
            return str(self._client.auth.approle.read_role_id(name)["data"]["role_id"])

    def secret_id_is_valid(self, name: str, secret_id: str) -> bool:
        """Whether the AppRole *name* would take *secret_id*."""
        with self._asking(f"look up a secret id of {name}"):
            try:
                answer = self._client.auth.approle.read_secret_id(name, secret_id)
            except (exceptions.InvalidPath, exceptions.InvalidRequest, exceptions.InternalServerError):
                # Vault has said "unknown" in each of these ways.
                return False
            # A dict of facts; for an unknown secret id an empty answer.
            return isinstance(answer, dict) and bool(answer.get("data"))

    def new_secret_id(self, name: str) -> str:
        with self._asking(f"generate a secret id of {name}"):
            return str(self._client.auth.approle.generate_secret_id(name)["data"]["secret_id"])

    # -- secrets ---------------------------------------------------------------------------------------------

    def keys(self, path: str) -> set[str]:
        """The names of the keys under *path*, never their values."""
        return set(self._document(path)[0])

    def names(self, folder: str) -> list[str]:
        """What is stored under *folder*."""
        with self._asking(f"list {self.mount}/{folder}"):
            try:
                answer = self._client.secrets.kv.v2.list_secrets(folder, mount_point=self.mount)
            except exceptions.InvalidPath:
                return []
            return sorted(answer["data"]["keys"])

    def put(self, path: str, key: str, value: str) -> None:
        """Sets one key and keeps the others. A write by someone else in between fails, it is not lost."""
        document, version = self._document(path)
        self._write(path, {**document, key: value}, version)

    def generate(self, path: str, key: str) -> bool:
        """Sets the key to a new random value if it has none; an existing value is never touched."""
        document, version = self._document(path)
        if document.get(key):
            return False
        self._write(path, {**document, key: secrets.token_urlsafe(48)}, version)
        return True

    def remove(self, path: str, key: str) -> bool:
        """Takes one key away and keeps the others."""
        document, version = self._document(path)
        if key not in document:
            return False
        self._write(path, {name: value for name, value in document.items() if name != key}, version)
        return True

    def _write(self, path: str, document: Mapping[str, Any], version: int) -> None:
        with self._asking(f"write {self.mount}/{path}"):
            self._client.secrets.kv.v2.create_or_update_secret(
                path, dict(document), cas=version, mount_point=self.mount
            )

    def _document(self, path: str) -> tuple[dict[str, Any], int]:
        """What is stored, and the version that a write has to name. Empty and 0 if there is nothing."""
        with self._asking(f"read {self.mount}/{path}"):
            try:
                data = self._client.secrets.kv.v2.read_secret_version(
                    path, mount_point=self.mount, raise_on_deleted_version=False
                )["data"]
            except exceptions.InvalidPath:
                return {}, 0
            return data["data"] or {}, int(data["metadata"]["version"])
