"""The first source: the process environment and, besides it, the file that ``SA01_ENV_FILE`` names.

The two are one set of names. A name that stands in both is an error, also with equal values: there is no
precedence to remember. Files are read by django-environ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from environ import Env

from settings.problems import Problem

PREFIX = "SA01_"
FILE_NAME = "SA01_ENV_FILE"
PROCESS = "process environment"
_LINE = re.compile(r"(?:export )?(?P<name>[A-Za-z_0-9]+)=.*")


@dataclass(frozen=True, slots=True)
class Found:
    """The text of one name and where it stood."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class FileContent:
    """What one file says, and what is wrong with it."""

    values: dict[str, str]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """Every ``SA01_*`` name found, the places that were looked in, and what was wrong on the way.

    ``file`` is the path of the file that was read besides the process environment, if one was named.
    An empty text counts as not set.
    """

    found: dict[str, Found]
    problems: tuple[Problem, ...]
    file: str | None
    places: str = field(default=PROCESS)

    def text(self, name: str) -> str:
        """The text of *name*, empty if it is not set."""
        return self.found[name].text if name in self.found else ""

    def mend_missing(self, name: str, example: str) -> str:
        """The command that sets *name*."""
        if self.file and name != FILE_NAME:
            return f"echo '{name}={example}' >> {self.file}"
        return f"export {name}={example}"

    def mend_changed(self, name: str, value: str) -> str:
        """The command that gives *name*, which is set, another value."""
        found = self.found.get(name)
        if found and found.source != PROCESS:
            return f"sed -i 's|^{name}=.*|{name}={value}|' {found.source}"
        return f"export {name}={value}"

    def mend_surplus(self, name: str) -> str:
        """The command that takes *name* away."""
        found = self.found.get(name)
        if found and found.source != PROCESS:
            return f"sed -i '/^{name}=/d' {found.source}"
        return f"unset {name}"


def read(environ: Mapping[str, str]) -> Environment:
    """Both places that *environ* tells of, as one set of names, with every problem met."""
    found = {name: Found(text, PROCESS) for name, text in environ.items() if is_ours(name)}
    path = environ.get(FILE_NAME, "")
    if not path:
        return Environment(found, (), None)
    content = read_file(path)
    problems = list(content.problems)
    for name, text in content.values.items():
        if name in found and name != FILE_NAME:
            problems.append(_in_both(name, path))
        elif is_ours(name):
            found[name] = Found(text, path)
    return Environment(found, tuple(problems), path, f"{PROCESS} and {path}")


def read_file(path: str) -> FileContent:
    """The names and values of the file at *path*. What cannot be read or understood is a problem."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        return FileContent(
            {}, (Problem(FILE_NAME, path, f"the file cannot be read: {reason}.", f"ls -l {path}"),)
        )
    return FileContent(_parse(lines), tuple(_malformed(path, lines)))


def is_ours(name: str) -> bool:
    """Whether *name* claims to be a setting of SomaAgent, in whatever case it is written."""
    return name.upper().startswith(PREFIX)


def _parse(lines: Iterable[str]) -> dict[str, str]:
    # read_env fills the class attribute ENVIRON; a class of its own keeps it off the process environment.
    class FileEnv(Env):  # type: ignore[misc,unused-ignore]  # django-environ has no types
        ENVIRON: dict[str, str] = {}

    # Only what is well formed: it would log any other line, and with it what may be a secret.
    FileEnv.read_env(StringIO("\n".join(filter(_LINE.fullmatch, lines))), overwrite=True)
    return dict(FileEnv.ENVIRON)


def _malformed(path: str, lines: Iterable[str]) -> Iterable[Problem]:
    """What django-environ would pass over in silence. Lines are named by number: they may hold a secret."""
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        name = match["name"] if match else ""
        mend = f"sed -n {number}p {path}"
        if not match:
            yield Problem(f"line {number}", path, "is neither NAME=value nor a comment.", mend)
        elif name == FILE_NAME:
            yield Problem(name, path, "cannot name a file from inside that file.", f"sed -i {number}d {path}")
        elif not is_ours(name):
            yield Problem(
                name,
                path,
                f"is not a {PREFIX}* name; the file holds nothing else.",
                f"sed -i {number}d {path}",
            )
        elif name in seen:
            yield Problem(
                name,
                path,
                f"stands on line {seen[name]} and again on line {number}.",
                f"sed -i {number}d {path}",
            )
        seen[name] = number


def _in_both(name: str, path: str) -> Problem:
    return Problem(
        name,
        f"{PROCESS} and {path}",
        f"is set both in the process environment and in {path}; it must stand in one of them.",
        f"unset {name}",
    )


def owner_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that migrates, logging in as the owner of the tables.

    It is *environ* with the file folded in.

    Raises ``KeyError`` with the name of the setting that this needs and that is not set.
    """
    ours = read(environ).found
    result = {name: text for name, text in environ.items() if not is_ours(name)}
    result |= {name: found.text for name, found in ours.items() if name != FILE_NAME}
    result["SA01_DB_USER"] = result["SA01_DB_OWNER_USER"]
    if result.get("SA01_VAULT_AUTH") == "approle":
        result["SA01_VAULT_ROLE_ID"] = result["SA01_VAULT_OWNER_ROLE_ID"]
        result["SA01_VAULT_SECRET_ID_FILE"] = result["SA01_VAULT_OWNER_SECRET_ID_FILE"]
    return result
