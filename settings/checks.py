"""The checks that ``check_config`` runs after the look-up: do the things that are configured answer?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import redis
import requests
from redis.backoff import NoBackoff
from redis.retry import Retry

from settings.loader import Configuration
from settings.policies import unsound
from settings.problems import Problem
from settings.vault_errors import VaultError

SECONDS = 3
_CREDENTIALS = (
    "SA01_VAULT_SECRET_ID_FILE",
    "SA01_VAULT_TOKEN_FILE",
    "SA01_VAULT_OWNER_SECRET_ID_FILE",
    "SA01_VAULT_OPERATOR_TOKEN_FILE",
)
_ROLE = """
SELECT r.rolsuper, r.rolbypassrls,
       (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
           AND pg_has_role(r.oid, c.relowner, 'USAGE'))
  FROM pg_roles r WHERE r.rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried: ``state`` is ok, warning, problem or not run."""

    name: str
    state: str
    detail: str
    problem: Problem | None = None


def run_all(c: Configuration, *, online: bool) -> list[Check]:
    """Every check, in order. What was not run says why."""
    reason = "" if online else "offline"
    if online and c.problems:
        reason = "the settings have problems"
    checks = [check(c) for check in (_vault_transport, _credential_files, _policy)]
    for name, check in CHECKS.items():
        no_database = name == "Migrations" and any(
            each.name == "Database" and each.problem for each in checks
        )
        why_not = reason or ("the database check failed" if no_database else "")
        checks.append(Check(name, "not run", why_not) if why_not else check(c))
    return checks


def _failed(name: str, setting: str, source: str, message: str, mend: str) -> Check:
    return Check(name, "problem", message, Problem(setting, source, message, mend))


def _vault_transport(c: Configuration) -> Check:
    name = "Vault transport"
    address = c.value("SA01_VAULT_ADDR")
    if not address:
        return Check(name, "not run", "SA01_VAULT_ADDR has no value")
    if str(address).startswith("https:"):
        return Check(name, "ok", "HTTPS")
    return Check(name, "warning", "plain HTTP: only for a network that nobody else can listen on")


def _credential_files(c: Configuration) -> Check:
    name = "Credential files"
    paths = [c.value(setting) for setting in _CREDENTIALS]
    there = [path for path in paths if path and path.is_file()]
    open_ones = [str(path) for path in there if path.stat().st_mode & 0o077]
    if open_ones:
        return Check(name, "warning", f"readable by others than their owner: {', '.join(open_ones)}")
    if not there:
        return Check(name, "not run", "none of them is on this machine")
    return Check(name, "ok", "readable by their owner alone")


def _policy(c: Configuration) -> Check:
    """The files are looked at also where an OPA server judges: it should have got the same."""
    name, directory = "Policy of tools", c.value("SA01_POLICY_DIR")
    if directory is None:
        return Check(name, "not run", "SA01_POLICY_DIR has no value")
    message = unsound(directory)
    if message:
        mend = f"python manage.py policy_test --dir {directory}"
        return _failed(name, "SA01_POLICY_DIR", str(directory), message, mend)
    return Check(name, "ok", f"{directory} parses")


def _opa(c: Configuration) -> Check:
    """The server has an answer to both questions."""
    name, url = "OPA", c.value("SA01_OPA_URL")
    if not url:
        return Check(name, "not run", "SA01_OPA_URL is not set: calls are judged beside each process")
    for package in ("tools", "approvals"):
        try:
            answer = requests.post(
                f"{url}/v1/data/somaagent/{package}/decision", json={"input": {}}, timeout=SECONDS
            )
            defined = answer.ok and "result" in answer.json()
        except (requests.RequestException, ValueError) as error:
            message = f"does not answer as OPA does: {error}"
            return _failed(name, "SA01_OPA_URL", f"OPA at {url}", message, f"curl {url}/health")
        if not defined:
            message = f"has no data.somaagent.{package}.decision (HTTP status {answer.status_code})."
            return _failed(
                name,
                "SA01_OPA_URL",
                f"OPA at {url}",
                message,
                f"opa run --server {c.value('SA01_POLICY_DIR')}",
            )
    return Check(name, "ok", f"OPA at {url} has both policies")


def _vault_token(c: Configuration) -> Check:
    name = "Vault token"
    if c.secrets is None:
        return Check(name, "not run", "no setting comes from Vault")
    source = f"Vault at {c.value('SA01_VAULT_ADDR')}"
    try:
        lease = c.secrets.lease()
    except VaultError as error:
        return _failed(name, "SA01_VAULT_ADDR", source, error.message, error.mend)
    if "root" in lease.policies:
        message = "this process logs in with the root token; it must have no more than its own policy."
        return _failed(
            name, "SA01_VAULT_AUTH", source, message, "python manage.py bootstrap_vault --directory DIR"
        )
    if lease.seconds == 0:
        return Check(name, "warning", "lives for ever")
    if not lease.renewable:
        return Check(name, "warning", f"{lease.seconds} s left, cannot be renewed: the process logs in again")
    return Check(name, "ok", f"{lease.seconds} s left, renewed while the process lives")


def _vault_transit(c: Configuration) -> Check:
    """Has a data key made and opened, as for a tenant that there is not; nothing of it is kept."""
    name = "Vault transit"
    if c.secrets is None:
        return Check(name, "not run", "no setting comes from Vault")
    try:
        c.secrets.check_sealing()
    except VaultError as error:
        source = f"Vault at {c.value('SA01_VAULT_ADDR')}"
        return _failed(name, "SA01_VAULT_MOUNT", source, error.message, error.mend)
    return Check(name, "ok", f"this process may seal tenants' secrets with {c.secrets.sealing_key}")


def _database(c: Configuration) -> Check:
    name, user = "Database", c.value("SA01_DB_USER")
    host, port = c.value("SA01_DB_HOST"), c.value("SA01_DB_PORT")
    source = f"PostgreSQL at {host}:{port}"
    try:
        with psycopg.connect(
            host=host,
            port=port,
            dbname=c.value("SA01_DB_NAME"),
            user=user,
            password=c.value("SA01_DB_PASSWORD"),
            connect_timeout=SECONDS,
        ) as connection:
            row = connection.execute(_ROLE).fetchone()
    except psycopg.Error as error:
        message = f"cannot be reached as {user}: {' '.join(str(error).split())}"
        return _failed(name, "SA01_DB_HOST", source, message, f"psql -h {host} -p {port} -U {user}")
    superuser, bypasses, owned = row or (False, False, 0)
    if superuser or bypasses:
        message = f"the role {user} passes by row-level security."
        return _failed(name, "SA01_DB_USER", source, message, f'ALTER ROLE "{user}" NOSUPERUSER NOBYPASSRLS')
    if owned:
        message = f"the role {user} owns {owned} tables, so row-level security does not bind it."
        owner = c.value("SA01_DB_OWNER_USER")
        return _failed(name, "SA01_DB_USER", source, message, f'REASSIGN OWNED BY "{user}" TO "{owner}"')
    return Check(name, "ok", f"{source} as {user}, which owns nothing and obeys row-level security")


def _valkey(c: Configuration) -> Check:
    name = "Valkey"
    host, port = c.value("SA01_VALKEY_HOST"), c.value("SA01_VALKEY_PORT")
    source = f"Valkey at {host}:{port}"
    client = redis.Redis(
        host=host,
        port=port,
        password=c.value("SA01_VALKEY_PASSWORD"),
        ssl=c.value("SA01_VALKEY_TLS"),
        socket_connect_timeout=SECONDS,
        socket_timeout=SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        client.ping()
    except redis.AuthenticationError:
        message = "refuses the password that Vault has."
        return _failed(
            name, "SA01_VALKEY_PASSWORD", source, message, "python manage.py secret set SA01_VALKEY_PASSWORD"
        )
    except (redis.RedisError, OSError) as error:
        message = f"cannot be reached: {error}"
        return _failed(name, "SA01_VALKEY_HOST", source, message, f"valkey-cli -h {host} -p {port} ping")
    finally:
        client.close()
    return Check(name, "ok", source)


def _migrations(c: Configuration) -> Check:
    """Needs Django, which is loaded only here, when the settings are known to be sound."""
    from settings.migrations import pending  # noqa: PLC0415  see above

    name, source = "Migrations", f"database {c.value('SA01_DB_NAME')}"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"settings.{c.mode.lower()}")
    missing, failure = pending()
    if failure:
        return _failed(
            name, "SA01_DB_NAME", source, f"could not be told: {failure}", "python manage.py showmigrations"
        )
    if missing:
        some = ", ".join(missing[:3]) + (" …" if len(missing) > len(missing[:3]) else "")
        message = f"{len(missing)} migrations are not applied: {some}"
        return _failed(
            name, "SA01_DB_NAME", source, message, "python -m somaagent.orchestrator --only migrations"
        )
    return Check(name, "ok", "all applied")


CHECKS: dict[str, Callable[[Configuration], Check]] = {
    "Vault token": _vault_token,
    "Vault transit": _vault_transit,
    "Database": _database,
    "Valkey": _valkey,
    "OPA": _opa,
    "Migrations": _migrations,
}
