"""What the registry looks like as a ``.env.example`` and as the table of ``docs/configuration.md``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from textwrap import wrap

from settings.environment import FILE_NAME
from settings.registry import PROJECT_ROOT, REGISTRY, Mode, Setting

_WIDTH = 100


def env_example(mode: Mode) -> str:
    """The text of ``infra/<mode>/.env.example``: needed settings with a value, the others as comments."""
    return "\n".join(_lines(mode)) + "\n"


def _lines(mode: Mode) -> Iterator[str]:
    yield f"# SomaAgent, {mode}. Written by: python manage.py check_config --env-example {mode}"
    yield "# Lines that are comments show an optional setting; what it is without one is said above it."
    plain = [setting for setting in REGISTRY if _in_file(setting, mode)]
    for section, settings in groupby(plain, key=lambda setting: setting.section):
        yield ""
        yield f"# -- {section} --"
        for setting in settings:
            yield from wrap(f"# {setting.doc}{_otherwise(setting)}", _WIDTH, subsequent_indent="# ")
            yield f"{'' if _given(setting, mode) else '# '}{setting.name}={setting.example.of(mode)}"
    yield ""
    yield "# -- Secrets --"
    yield "# None stands here: they are in Vault. `manage.py bootstrap_vault` generates them; to set one:"
    for setting in REGISTRY:
        if setting.secret:
            yield f"#   python manage.py secret set {setting.name}"


def _in_file(setting: Setting, mode: Mode) -> bool:
    return not setting.secret and not setting.process_only and mode in setting.modes


def _given(setting: Setting, mode: Mode) -> bool:
    """Whether the example has to say it, with AppRole as its login."""
    if setting.required or setting.offered or setting.needed_for_auth == "approle":
        return True
    shown = setting.example.of(mode)
    differs = setting.example.standalone != setting.example.saas
    return differs and setting.default is not None and setting.kind.parse(shown) != setting.default


def _otherwise(setting: Setting) -> str:
    if setting.default is None:
        return ""
    if isinstance(setting.default, Path):
        return f" Default: {setting.default.relative_to(PROJECT_ROOT)} in the project's folder."
    default = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
    return f" Default: {default}."


def reference() -> str:
    """The registry as Markdown tables, one for each section."""
    lines: list[str] = []
    for section, settings in groupby(REGISTRY, key=lambda setting: setting.section):
        lines += [f"### {section}", "", "| setting | takes | if not set | what it is |", "|---|---|---|---|"]
        lines += [f"| `{s.name}` | {_takes(s)} | {_unset(s)} | {s.doc} |" for s in settings]
        lines.append("")
    return "\n".join(lines)


def _takes(setting: Setting) -> str:
    if setting.vault:
        return f"Vault `{setting.vault.path}`, key `{setting.vault.key}`"
    modes = "" if len(setting.modes) == len(Mode) else f" ({', '.join(sorted(setting.modes))} only)"
    return setting.kind.expects + modes


def _unset(setting: Setting) -> str:
    if setting.required:
        return "fails at boot"
    if setting.needed_for_auth:
        return f"fails at boot if `SA01_VAULT_AUTH={setting.needed_for_auth}`"
    if setting.needed_with:
        other, values = setting.needed_with
        return f"fails at boot if `{other}` is {' or '.join(values)}"
    if setting.name == FILE_NAME or setting.default is None:
        return "–"
    return f"`{_otherwise(setting).removeprefix(' Default: ').removesuffix('.')}`"
