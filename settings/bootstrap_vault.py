"""``manage.py bootstrap_vault``: makes a Vault ready for SomaAgent; run again, it changes nothing."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from settings.operating import Operating, plain_values
from settings.problems import UsageError
from settings.vault_admin import VaultOperator
from settings.vault_transit import TRANSIT_KEY, transit_mount

Say = Callable[[str], None]

_OWN_LOGIN = """path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
"""
# What has a name of its own in Vault, and is read when it is used.
_NAMED = ("models/*", "mcp/*", "oidc/*")
ROLE_FACTS = {
    "bind_secret_id": True,
    "secret_id_num_uses": 0,
    "secret_id_ttl": 0,
    "token_no_default_policy": True,
    "token_num_uses": 0,
    "token_ttl": 3600,
    "token_max_ttl": 86_400,
}


@dataclass(frozen=True, slots=True)
class Login:
    """One AppRole: the name of its files, and what its policy lets it read and seal."""

    file: str
    role: str
    readable: tuple[str, ...]
    seals: bool = False

    def policy(self, mount: str) -> str:
        reads = "".join(
            f'path "{mount}/data/{path}" {{ capabilities = ["read"] }}\n' for path in self.readable
        )
        # A data key is made and opened; the key that wraps it is neither seen nor changed.
        seals = "".join(
            f'path "{transit_mount(mount)}/{use}/{TRANSIT_KEY}" {{ capabilities = ["update"] }}\n'
            for use in (("datakey/plaintext", "decrypt") if self.seals else ())
        )
        return reads + seals + _OWN_LOGIN


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", type=Path, help="write the AppRoles' credentials into this folder")
    parser.add_argument(
        "--model-secret",
        action="append",
        default=[],
        metavar="NAME",
        help="also generate models/NAME, if missing",
    )


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Does it and says what it did, never a value. Raises what ``settings.cli`` tells the operator."""
    operating = Operating.log_in(os.environ, extra=("SA01_DB_USER", "SA01_DB_OWNER_USER"))
    operator, values = operating.operator, plain_values(operating)
    app, owner = values["SA01_DB_USER"], values["SA01_DB_OWNER_USER"]
    if app == owner:
        raise UsageError(
            "SA01_DB_USER and SA01_DB_OWNER_USER name one role; the application must not own tables."
        )
    logins = (
        Login("app", f"{operator.mount}-app", ("core", f"database/{app}", *_NAMED), seals=True),
        Login("owner", f"{operator.mount}-owner", ("core", f"database/{owner}")),
    )
    done = list(_everything(operator, logins, (app, owner), arguments))
    for line in done:
        say(line)
    say(f"Vault is ready: {len(done)} changes." if done else "Vault was ready: nothing changed.")
    return 0


def _everything(
    operator: VaultOperator, logins: tuple[Login, ...], roles: tuple[str, ...], arguments: argparse.Namespace
) -> Iterator[str]:
    """Yields a line for each thing that had to be done."""
    if operator.mount_kv():
        yield f"mounted KV version 2 at {operator.mount}"
    yield from _transit(operator)
    if operator.enable_approle():
        yield "enabled the AppRole login"
    for login in logins:
        if operator.put_policy(login.role, login.policy(operator.mount)):
            yield f"wrote the policy {login.role}"
        if operator.put_approle(login.role, ROLE_FACTS | {"token_policies": [login.role]}):
            yield f"wrote the AppRole {login.role}"
    yield from _secrets(operator, roles, arguments.model_secret)
    if arguments.directory:
        for login in logins:
            yield from _credentials(operator, login, arguments.directory)


def _transit(operator: VaultOperator) -> Iterator[str]:
    if operator.mount_transit():
        yield f"mounted transit at {transit_mount(operator.mount)}"
    if operator.make_transit_key():
        yield f"made the key {transit_mount(operator.mount)}/{TRANSIT_KEY}"


def _secrets(operator: VaultOperator, roles: tuple[str, ...], models: list[str]) -> Iterator[str]:
    wanted = [("core", "secret_key"), ("core", "valkey_password")]
    wanted += [(f"database/{role}", "password") for role in dict.fromkeys(roles)]
    wanted += [(f"models/{model}", "api_key") for model in models]
    for path, key in wanted:
        if operator.generate(path, key):
            yield f"generated {operator.mount}/{path} {key}"


def _credentials(operator: VaultOperator, login: Login, directory: Path) -> Iterator[str]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    role_file, secret_file = directory / f"{login.file}.role-id", directory / f"{login.file}.secret-id"
    role_id = operator.role_id(login.role)
    if _content(role_file) != role_id:
        write_private(role_file, role_id)
        yield f"wrote {role_file}"
    present = _content(secret_file)
    if not present or not operator.secret_id_is_valid(login.role, present):
        write_private(secret_file, operator.new_secret_id(login.role))
        yield f"wrote {secret_file}"


def _content(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def write_private(path: Path, text: str) -> None:
    """Puts *text* at *path*, readable by its owner alone, whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp makes it 0600
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
