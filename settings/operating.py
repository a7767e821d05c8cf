"""An operator's login, from the few settings that it takes; the rest of the configuration may be broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from settings.environment import read
from settings.loader import Configuration, connection_of, examine
from settings.problems import ConfigurationError
from settings.registry import REGISTRY
from settings.vault_admin import VaultOperator

_TOKEN_FILE = "SA01_VAULT_OPERATOR_TOKEN_FILE"  # noqa: S105  the name of a setting
_TAKEN = (
    "SA01_ENV_FILE",
    "SA01_VAULT_ADDR",
    "SA01_VAULT_CA_FILE",
    "SA01_VAULT_NAMESPACE",
    "SA01_VAULT_MOUNT",
    _TOKEN_FILE,
)


@dataclass(frozen=True, slots=True)
class Operating:
    """The session and the settings that it was made of."""

    operator: VaultOperator
    configuration: Configuration

    @classmethod
    def log_in(cls, environ: Mapping[str, str], *, extra: Sequence[str] = ()) -> Operating:
        """Raises ``ConfigurationError`` for what is missing of these settings, and ``VaultError``."""
        taken = {*_TAKEN, *extra}
        needed = {_TOKEN_FILE, *extra}
        registry = tuple(
            replace(setting, required=setting.required or setting.name in needed)
            for setting in REGISTRY
            if setting.name in taken
        )
        environment = read({name: text for name, text in environ.items() if name in taken})
        environment = replace(
            environment, found={name: found for name, found in environment.found.items() if name in taken}
        )
        configuration = examine(environment, environ={}, online=False, registry=registry)
        connection = connection_of(configuration)
        if configuration.problems or connection is None:
            raise ConfigurationError(configuration.problems)
        connection = replace(connection, auth="token_file", token_file=configuration.value(_TOKEN_FILE))
        return cls(VaultOperator(connection), configuration)


def plain_values(operating: Operating) -> dict[str, str]:
    """The text settings among those that were taken."""
    return {name: cast("str", value) for name, value in operating.configuration.values.items()}
