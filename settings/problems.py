"""What is wrong with a configuration, told all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: which setting, where it was looked for, what is wrong, the command that mends it."""

    setting: str
    source: str
    message: str
    mend: str

    def as_json(self) -> dict[str, str]:
        """The same four facts under the keys ``setting``, ``source``, ``message`` and ``mend``."""
        return asdict(self)


class ConfigurationError(SystemExit):
    """Ends the process with status 1 and the list of problems on standard error, without a traceback.

    It is a ``SystemExit`` because settings are imported by servers that turn an ordinary exception into
    a page of traceback. ``problems`` holds the list for a caller that catches it.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(describe(problems))
        self.problems = tuple(problems)


class UsageError(Exception):
    """A command could not run as it was asked to; the text says why."""


def describe(problems: Sequence[Problem]) -> str:
    """The list as an operator reads it in a terminal."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"SomaAgent cannot start: {count} in its configuration.", ""]
    for number, problem in enumerate(problems, start=1):
        lines += [
            f"{number:>3}. {problem.setting}: {problem.message}",
            f"     looked in: {problem.source}",
            f"     mend it:   {problem.mend}",
            "",
        ]
    lines.append("Every setting with its value, source and state: python manage.py check_config")
    return "\n".join(lines)
