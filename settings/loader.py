"""Looks every setting up, in its one source, and collects every problem on the way."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from settings.environment import PROCESS, Environment, read
from settings.problems import ConfigurationError, Problem
from settings.registry import REGISTRY, Mode, Setting, by_name
from settings.rules import broken
from settings.secret import MASK, Secret
from settings.vault import SecretMissing, SecretReader, VaultConnection, VaultError

_MODE = "SA01_DEPLOYMENT_MODE"
_MODULES = {"settings.standalone": Mode.STANDALONE, "settings.saas": Mode.SAAS}


class State(StrEnum):
    """What became of one setting."""

    SET = "set"
    DEFAULT = "default"
    NOT_SET = "not set"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    INVALID = "invalid"
    NOT_LOOKED_UP = "not looked up"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of ``check_config``. ``shown`` never holds a secret."""

    name: str
    shown: str
    source: str
    state: State


@dataclass(slots=True)
class Configuration:
    """All that was found. ``values`` has every setting that has a value; secrets in it are ``Secret``."""

    environment: Environment
    registry: Sequence[Setting]
    values: dict[str, object] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    secrets: SecretReader | None = None

    @property
    def mode(self) -> str:
        """STANDALONE or SAAS; empty where neither was said."""
        return str(self.values.get(_MODE, ""))

    @property
    def reader(self) -> SecretReader:
        """This process's reader. A sound configuration that was looked up online has one."""
        if self.secrets is None:
            raise ValueError("Nothing was looked up in Vault.")
        return self.secrets

    def value(self, name: str) -> Any:
        """The value of *name*, None if it is optional and not set. Secrets come as their text."""
        value = self.values.get(name)
        return value.reveal() if isinstance(value, Secret) else value


def boot() -> Configuration:
    """The sound configuration of this process, or the end of it: ``ConfigurationError`` with all problems."""
    configuration = load(os.environ)
    if configuration.problems:
        raise ConfigurationError(configuration.problems)
    return configuration


def load(
    environ: Mapping[str, str], *, online: bool = True, registry: Sequence[Setting] = REGISTRY
) -> Configuration:
    """Looks up everything in *environ* and, if *online*, in Vault. Never raises for a wrong configuration."""
    return examine(read(environ), environ=environ, online=online, registry=registry)


def examine(
    environment: Environment,
    *,
    environ: Mapping[str, str],
    online: bool,
    registry: Sequence[Setting] = REGISTRY,
) -> Configuration:
    """The same for an environment that was read already. *environ* says which settings module is in use."""
    configuration = Configuration(environment, registry, problems=list(environment.problems))
    for setting in registry:
        if not setting.secret:
            _look_up_plain(configuration, setting)
    configuration.problems += _needed_for_login(configuration)
    configuration.problems += _needed_with_others(configuration)
    configuration.problems += _wrong_module(configuration, environ)
    configuration.problems += _strangers(configuration)
    configuration.problems += broken(configuration.values, configuration.mode, environment)
    _look_up_secrets(configuration, online=online)
    return configuration


def _look_up_plain(c: Configuration, setting: Setting) -> None:
    name = setting.name
    if c.mode and c.mode not in setting.modes:
        if c.environment.text(name):
            message = f"has no meaning in {c.mode}."
            c.problems.append(_problem(c, setting, message, c.environment.mend_surplus(name)))
        return
    text = c.environment.text(name)
    if not text.strip():
        _absent(c, setting)
        return
    found = c.environment.found[name]
    try:
        c.values[name] = setting.kind.parse(text)
    except ValueError as error:
        mend = c.environment.mend_changed(name, _example(c, setting))
        c.problems.append(Problem(name, found.source, f"{error}.", mend))
        c.rows.append(Row(name, "", found.source, State.INVALID))
    else:
        c.rows.append(Row(name, shown(c.values[name]), found.source, State.SET))


def _absent(c: Configuration, setting: Setting) -> None:
    state = State.NOT_SET
    if setting.required:
        state = State.MISSING
        c.problems.append(_missing(c, setting, f"is not set; it takes {setting.kind.expects}."))
    elif setting.default is not None:
        state = State.DEFAULT
        c.values[setting.name] = setting.default
    source = {State.DEFAULT: "default", State.NOT_SET: ""}.get(state, c.environment.places)
    c.rows.append(Row(setting.name, shown(c.values.get(setting.name)), source, state))


def shown(value: object) -> str:
    """A setting's value as operators read it; a secret's is the mask."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)


def _example(c: Configuration, setting: Setting) -> str:
    return setting.example.of(Mode(c.mode) if c.mode else Mode.STANDALONE)


def _problem(c: Configuration, setting: Setting, message: str, mend: str) -> Problem:
    found = c.environment.found.get(setting.name)
    return Problem(setting.name, found.source if found else c.environment.places, message, mend)


def _missing(c: Configuration, setting: Setting, message: str) -> Problem:
    found = c.environment.found.get(setting.name)
    message = message.replace("is not set", "is set, but empty", 1) if found else message
    return _problem(c, setting, message, c.environment.mend_missing(setting.name, _example(c, setting)))


def _needed_for_login(c: Configuration) -> Iterator[Problem]:
    auth = c.values.get("SA01_VAULT_AUTH")
    for setting in c.registry:
        needed = auth and setting.needed_for_auth == auth and setting.name not in c.values
        if needed and not any(problem.setting == setting.name for problem in c.problems):
            yield _missing(c, setting, f"is not set; SA01_VAULT_AUTH={auth} needs it.")


def _needed_with_others(c: Configuration) -> Iterator[Problem]:
    for setting in c.registry:
        if setting.needed_with and not setting.secret and _is_asked_for(c, setting):
            other = setting.needed_with[0]
            if setting.name not in c.values and not any(each.setting == setting.name for each in c.problems):
                yield _missing(c, setting, f"is not set; {other}={c.values[other]} needs it.")


def _is_asked_for(c: Configuration, setting: Setting) -> bool:
    """Whether another setting has a value that makes this one necessary; True where it depends on none."""
    if setting.needed_with is None:
        return True
    other, values = setting.needed_with
    return c.values.get(other) in values


def _wrong_module(c: Configuration, environ: Mapping[str, str]) -> Iterator[Problem]:
    module = environ.get("DJANGO_SETTINGS_MODULE", "")
    wanted = _MODULES.get(module)
    if wanted and c.mode and wanted != c.mode:
        yield Problem(
            _MODE,
            PROCESS,
            f"is {c.mode}, but DJANGO_SETTINGS_MODULE={module} is for {wanted}.",
            "unset DJANGO_SETTINGS_MODULE",
        )


def _strangers(c: Configuration) -> Iterator[Problem]:
    """Secrets that stand where they must not, and names that nobody declared."""
    known = by_name(c.registry)
    for name, found in sorted(c.environment.found.items()):
        mend = c.environment.mend_surplus(name)
        if name not in known:
            near = difflib.get_close_matches(name.upper(), list(known), n=1, cutoff=0.6)
            hint = f"; the nearest known name is {near[0]}" if near else ""
            c.rows.append(Row(name, "", found.source, State.UNKNOWN))
            yield Problem(name, found.source, f"is not the name of a setting{hint}.", mend)
        elif known[name].secret:
            message = (
                "is a secret and must not stand here: secrets come from Vault alone. Change it, it was seen."
            )
            yield Problem(name, found.source, message, f"{mend} && python manage.py secret set {name}")


def _look_up_secrets(c: Configuration, *, online: bool) -> None:
    wanted = [setting for setting in c.registry if setting.vault]
    connection = connection_of(c) if wanted else None
    if connection and online:
        c.secrets = SecretReader(connection)
        try:
            c.secrets.open(float(cast("int", c.values.get("SA01_VAULT_BOOT_SECONDS", 0))))
        except VaultError as error:
            c.problems.append(
                Problem("SA01_VAULT_ADDR", f"Vault at {connection.address}", error.message, error.mend)
            )
            c.secrets.close()
            c.secrets = None
    for setting in wanted:
        if _is_asked_for(c, setting):
            _look_up_secret(c, setting)
        else:
            c.rows.append(Row(setting.name, "", "", State.NOT_SET))


def _look_up_secret(c: Configuration, setting: Setting) -> None:
    path, key = vault_place(c, setting)
    place = f"Vault {c.values.get('SA01_VAULT_MOUNT', '')}/{path} {key}"
    if c.secrets is None or "{" in path:
        # The reason is among the problems already: the login, or the setting that the path is made of.
        c.rows.append(Row(setting.name, MASK, place, State.NOT_LOOKED_UP))
        return
    try:
        c.values[setting.name] = Secret(c.secrets.read(path, key))
    except VaultError as error:
        mend = (
            f"python manage.py secret set {setting.name}" if isinstance(error, SecretMissing) else error.mend
        )
        c.problems.append(Problem(setting.name, place, error.message, mend))
        state = State.MISSING if isinstance(error, SecretMissing) else State.UNREADABLE
        c.rows.append(Row(setting.name, "", place, state))
    else:
        c.rows.append(Row(setting.name, MASK, place, State.SET))


def vault_place(c: Configuration, setting: Setting) -> tuple[str, str]:
    """The path and key of a secret. Braces stay in the path where the setting that they name has no value."""
    if setting.vault is None:
        raise ValueError(f"{setting.name} does not come from Vault.")
    path = re.sub(r"\{(\w+)\}", lambda m: str(c.values.get(m[1], m[0])), setting.vault.path)
    return path, setting.vault.key


def connection_of(c: Configuration) -> VaultConnection | None:
    """How to reach Vault as this process, or None where a setting that this takes has a problem."""
    taken = {setting.name for setting in c.registry if setting.section == "Vault"}
    if any(problem.setting in taken for problem in c.problems):
        return None
    v = c.values.get
    return VaultConnection(
        address=str(v("SA01_VAULT_ADDR")),
        auth=cast("Any", v("SA01_VAULT_AUTH")),
        mount=str(v("SA01_VAULT_MOUNT")),
        role_id=str(v("SA01_VAULT_ROLE_ID") or ""),
        secret_id_file=cast("Path | None", v("SA01_VAULT_SECRET_ID_FILE")),
        kubernetes_role=str(v("SA01_VAULT_KUBERNETES_ROLE") or ""),
        token_file=cast("Path | None", v("SA01_VAULT_TOKEN_FILE")),
        ca_file=cast("Path | None", v("SA01_VAULT_CA_FILE")),
        namespace=cast("str | None", v("SA01_VAULT_NAMESPACE")),
    )
