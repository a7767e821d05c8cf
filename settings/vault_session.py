"""One process's conversation with Vault or OpenBao over hvac: log in, renew, read. Errors come translated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import hvac
import requests
from hvac import exceptions

from settings.secret import Secret
from settings.vault_errors import (
    PathMissing,
    VaultDenied,
    VaultError,
    VaultLoginRefused,
    VaultSealed,
    VaultUnreachable,
)

KUBERNETES_TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes puts the token of a pod's service account."""
Auth = Literal["approle", "kubernetes", "token_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultConnection:
    """Where Vault is and how this process logs in. Holds paths to credentials, never credentials.

    Time-outs are in seconds, for connecting and for an answer.
    """

    address: str
    auth: Auth
    mount: str
    role_id: str = ""
    secret_id_file: Path | None = None
    kubernetes_role: str = ""
    kubernetes_token_file: Path = KUBERNETES_TOKEN_FILE
    token_file: Path | None = None
    ca_file: Path | None = None
    namespace: str | None = None
    timeouts: tuple[float, float] = (2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a token lives from now, in seconds (0: for ever), and whether that can be prolonged."""

    seconds: int
    renewable: bool
    policies: tuple[str, ...] = field(default=())


def open_client(connection: VaultConnection, token: str = "") -> hvac.Client:
    """An hvac client that takes nothing from the environment or the home directory."""
    verify: bool | str = str(connection.ca_file) if connection.ca_file else True
    # An empty token, not None: for None hvac would look for VAULT_TOKEN and ~/.vault-token.
    return hvac.Client(
        url=connection.address,
        token=token,
        verify=verify,
        timeout=connection.timeouts,
        namespace=connection.namespace,
    )


@contextmanager
def translated(connection: VaultConnection) -> Iterator[None]:
    """Turns failures to talk with Vault into ours; refusals that depend on what was asked pass through."""
    address = connection.address
    health = f"curl -sS {address}/v1/sys/health"
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise VaultUnreachable(
            f"Vault at {address} showed a certificate that cannot be verified.",
            mend="export SA01_VAULT_CA_FILE=/path/to/the/authority.pem",
        ) from error
    except requests.exceptions.RequestException as error:
        raise VaultUnreachable(f"Vault at {address} is unreachable ({_why(error)}).", mend=health) from error
    except OSError as error:
        # What is left is the authority's file: it is there, and is no certificate.
        message = f"{connection.ca_file} is not a certificate authority ({error})."
        raise VaultUnreachable(message, mend=f"openssl x509 -in {connection.ca_file}") from error
    except exceptions.VaultDown as error:
        if "seal" in str(error).lower():
            raise _sealed(connection) from error
        raise VaultUnreachable(f"Vault at {address} is not in service.", mend=health) from error
    except exceptions.VaultNotInitialized as error:
        raise _sealed(connection) from error
    except (exceptions.InternalServerError, exceptions.BadGateway, exceptions.RateLimitExceeded) as error:
        raise VaultUnreachable(
            f"Vault at {address} could not answer ({type(error).__name__}).", mend=health
        ) from error


def _sealed(connection: VaultConnection) -> VaultError:
    """A Vault that was never initialised calls itself sealed as well; what mends it is another command."""
    address = connection.address
    with translated(connection):
        if open_client(connection).sys.is_initialized():
            return VaultSealed(f"Vault at {address} is sealed.", mend="bao operator unseal")
    return VaultSealed(f"Vault at {address} is not initialised.", mend="bao operator init")


def _why(error: requests.exceptions.RequestException) -> str:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return "its name is not known"
    return "connection refused" if "refused" in text else type(error).__name__


def read_credential(path: Path | None, what: str) -> Secret:
    """The text of a credential file, stripped; ``VaultLoginRefused`` if there is none."""
    mend = f"ls -l {path}"
    try:
        text = path.read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise VaultLoginRefused(f"{what} cannot be read from {path}: {reason}.", mend=mend) from error
    if not text:
        raise VaultLoginRefused(f"{what} in {path} is empty.", mend=mend)
    return Secret(text)


class VaultSession:
    """A logged-in client. Not safe for threads by itself: its owner holds a lock."""

    def __init__(self, connection: VaultConnection) -> None:
        self.connection = connection
        self._client = open_client(connection)
        self._credential = Secret("")

    def reconnect(self) -> None:
        """Same token, new sockets: after a fork the old ones belong to the parent."""
        self._client = open_client(self.connection, self._client.token)

    @property
    def client(self) -> hvac.Client:
        """The hvac client with this session's token; its errors are not translated."""
        return self._client

    def known(self) -> tuple[Secret, ...]:
        """What this session holds that must not be seen: its token, and what it logged in with."""
        return Secret(self._client.token or ""), self._credential

    def login(self) -> Lease:
        """Logs in as the connection says.

        Raises ``VaultLoginRefused``, ``VaultSealed`` or ``VaultUnreachable``.
        """
        authority = self.connection.ca_file
        if authority and not authority.is_file():
            # Found before the first request: over plain HTTP it would never be missed.
            raise VaultUnreachable(
                f"There is no certificate authority at {authority}.", mend=f"ls -l {authority}"
            )
        with translated(self.connection):
            try:
                return {
                    "approle": self._login_approle,
                    "kubernetes": self._login_kubernetes,
                    "token_file": self._login_token,
                }[self.connection.auth]()
            except (
                exceptions.InvalidRequest,
                exceptions.Unauthorized,
                exceptions.Forbidden,
                exceptions.InvalidPath,
            ) as error:
                raise self._refused(error) from error

    def _refused(self, error: exceptions.VaultError) -> VaultError:
        c = self.connection
        if "HTTPS server" in str(error):
            address = c.address.replace("http:", "https:", 1)
            return VaultUnreachable(
                f"Vault at {c.address} speaks HTTPS.", mend=f"export SA01_VAULT_ADDR={address}"
            )
        if c.auth == "approle":
            folder = c.secret_id_file.parent if c.secret_id_file else "."
            what, mend = (
                f"the AppRole role id and the secret id in {c.secret_id_file}",
                f"python manage.py bootstrap_vault --directory {folder}",
            )
        elif c.auth == "kubernetes":
            what, mend = (
                f"this pod's service account for the role {c.kubernetes_role}",
                f"bao read auth/kubernetes/role/{c.kubernetes_role}",
            )
        else:
            what, mend = f"the token in {c.token_file}", f"bao token create > {c.token_file}"
        return VaultLoginRefused(f"Vault at {c.address} refused {what} ({type(error).__name__}).", mend=mend)

    def _login_approle(self) -> Lease:
        self._credential = read_credential(self.connection.secret_id_file, "The AppRole secret id")
        answer = self._client.auth.approle.login(
            role_id=self.connection.role_id, secret_id=self._credential.reveal()
        )
        return _lease(answer["auth"])

    def _login_kubernetes(self) -> Lease:
        path = self.connection.kubernetes_token_file
        self._credential = read_credential(path, "The service account's token")
        answer = self._client.auth.kubernetes.login(
            role=self.connection.kubernetes_role, jwt=self._credential.reveal()
        )
        return _lease(answer["auth"])

    def _login_token(self) -> Lease:
        self._client.token = read_credential(self.connection.token_file, "The Vault token").reveal()
        return self.lookup()

    def lookup(self) -> Lease:
        """What Vault knows of the token in use. Raises ``VaultLoginRefused`` if it knows nothing."""
        with translated(self.connection):
            try:
                data = self._client.auth.token.lookup_self()["data"]
            except (exceptions.Forbidden, exceptions.Unauthorized) as error:
                raise self._refused(error) from error
        # A life of less than a second is told as 0; only a token without an end lives for ever.
        seconds = max(int(data["ttl"]), 1) if data.get("expire_time") else 0
        return Lease(seconds, bool(data.get("renewable", False)), tuple(data.get("policies") or ()))

    def renew(self) -> Lease:
        """Prolongs the token. Raises ``VaultLoginRefused`` if Vault no longer knows it."""
        with translated(self.connection):
            try:
                return _lease(self._client.auth.token.renew_self()["auth"])
            except (exceptions.InvalidRequest, exceptions.Forbidden, exceptions.Unauthorized) as error:
                raise self._refused(error) from error

    def read(self, path: str) -> dict[str, Secret]:
        """Every key of the last version of *path*. Raises ``PathMissing`` or ``VaultDenied``."""
        mount = self.connection.mount
        with translated(self.connection):
            try:
                answer = self._client.secrets.kv.v2.read_secret_version(
                    path=path, mount_point=mount, raise_on_deleted_version=True
                )
            except (exceptions.Forbidden, exceptions.Unauthorized) as error:
                raise VaultDenied(
                    f"Vault's policy does not let this process read {mount}/{path}.",
                    mend="python manage.py bootstrap_vault",
                ) from error
            except exceptions.InvalidPath as error:
                raise _path_missing(mount, path, error) from error
        return _as_secrets(answer["data"]["data"])


def _path_missing(mount: str, path: str, error: exceptions.VaultError) -> PathMissing:
    if error.errors and any("no handler" in text for text in error.errors):
        message = f"Vault has no KV mount {mount}."
    elif error.json and error.json.get("data"):
        message = f"the last version of {mount}/{path} was deleted from Vault."
    else:
        message = f"Vault holds nothing under {mount}/{path}."
    return PathMissing(message, mend="python manage.py bootstrap_vault")


def _lease(auth: dict[str, Any]) -> Lease:
    policies = auth.get("token_policies") or auth.get("policies") or ()
    return Lease(int(auth["lease_duration"]), bool(auth["renewable"]), tuple(policies))


def _as_secrets(data: dict[str, Any]) -> dict[str, Secret]:
    # A number or an object written by hand is as good as absent: every secret of ours is text.
    return {key: Secret(value) for key, value in data.items() if isinstance(value, str) and value}
