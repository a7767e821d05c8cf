"""What the rest of the program may know of each setting: never the value of a secret, nor anything of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from settings.loader import Configuration, Row, State, shown
from settings.registry import Setting

_ELSEWHERE = "not of this mode"


def published(configuration: Configuration) -> tuple[Mapping[str, object], ...]:
    """One read-only mapping for each declared setting, in the order of the registry.

    ``name``, ``section``, ``doc``, ``takes`` (in words), ``modes``, ``required``, ``secret``; ``state`` (as
    ``check_config`` says it), ``source`` (process environment, a file, Vault's path and key, default, or
    empty), ``value`` and ``default`` as text or None; of a secret both are None.
    """
    rows = {row.name: row for row in configuration.rows}
    return tuple(_facts(setting, rows.get(setting.name)) for setting in configuration.registry)


def _facts(setting: Setting, row: Row | None) -> Mapping[str, object]:
    told = row is not None and not setting.secret and row.state in (State.SET, State.DEFAULT)
    has_default = setting.default is not None and not setting.secret
    facts: dict[str, object] = {
        "name": setting.name,
        "section": setting.section,
        "doc": setting.doc,
        "takes": "a secret" if setting.secret else setting.kind.expects,
        "modes": tuple(sorted(mode.value for mode in setting.modes)),
        "required": setting.required,
        "secret": setting.secret,
        "state": row.state.value if row else _ELSEWHERE,
        "source": row.source if row else "",
        "value": row.shown if row and told else None,
        "default": shown(setting.default) if has_default else None,
    }
    return MappingProxyType(facts)
