"""Make the virtual environment and install one hash-pinned requirements file into it.

Usage: python3 requirements/install.py {embedded,dev,standalone,saas}

Standard library only: it runs before anything is installed. The environment is ``.venv`` beside
``requirements/``; a stamp in it holds the digest of what was installed, so a second call with the
same pins returns at once and needs no network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE.parent / ".venv"
TOOLS = VENV / "bootstrap"
MINIMUM = (3, 11)
OPA = VENV / "opa"
SETS = ("embedded", "dev", "standalone", "saas")
# Builds with profile-guided optimisation run pure Python about 1.7 times as fast as plain ones, and
# nothing that a build records tells them apart on every system: so they run a little, best of five.
PROBE = (
    "import sys, timeit; print(*sys.version_info[:2], "
    "min(timeit.repeat('sum(i * i for i in range(20000))', number=5, repeat=5)))"
)


def fail(message: str) -> None:
    sys.exit(f"install: {message}")


def interpreters() -> list[str]:
    """Every ``python3.11`` on the path and in the system's own places, and the running one."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    found = [str(Path(folder) / "python3.11") for folder in folders if folder] + [sys.executable]
    return list(dict.fromkeys(path for path in found if os.access(path, os.X_OK)))


def fastest() -> str:
    """The quickest interpreter that is new enough."""
    usable: list[tuple[float, str]] = []
    for path in interpreters():
        probe = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False)
        if probe.returncode == 0:
            major, minor, seconds = probe.stdout.split()
            if (int(major), int(minor)) >= MINIMUM:
                usable.append((float(seconds), path))
    if not usable:
        fail(f"Python {MINIMUM[0]}.{MINIMUM[1]} or newer is needed and none was found on the path.")
    return min(usable)[1]


def run(*command: str, why: str) -> None:
    finished = subprocess.run(command, check=False)
    if finished.returncode != 0:
        fail(f"{why} failed (exit status {finished.returncode}); its message stands above.")


def installer() -> str:
    """Path of ``uv``, installed with its pinned hash into an environment of its own."""
    uv = TOOLS / "bin" / "uv"
    pins = HERE / "bootstrap.txt"
    if not installed(TOOLS, pins):
        shutil.rmtree(TOOLS, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(TOOLS)], check=False)
        if made.returncode != 0:
            fail("this Python cannot make a virtual environment; on Debian: apt-get install python3-venv")
        pip = [str(TOOLS / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, "--require-hashes", "--requirement", str(pins), why="installing uv")
        stamp(TOOLS, pins)
    return str(uv)


def install_opa(uv: str) -> None:
    """OPA's evaluator, for the tests that compare it with ours. Its wheel holds a library that any Python can
    load, but is marked for a newer one: hence a folder of its own, off the path."""
    pins = HERE / "opa.txt"
    if installed(OPA, pins):
        return
    shutil.rmtree(OPA, ignore_errors=True)
    into = ["--target", str(OPA), "--python", str(VENV / "bin" / "python"), "--python-version", "3.14"]
    run(
        uv,
        "pip",
        "install",
        "--quiet",
        *into,
        "--require-hashes",
        "--no-deps",
        "--no-build",
        "--requirement",
        str(pins),
        why=f"installing {pins.name}",
    )
    stamp(OPA, pins)


def digest(pins: Path) -> str:
    return hashlib.sha256(pins.read_bytes()).hexdigest()


def installed(environment: Path, pins: Path) -> bool:
    mark = environment / f".installed-{pins.stem}"
    return mark.is_file() and mark.read_text() == digest(pins)


def stamp(environment: Path, pins: Path) -> None:
    (environment / f".installed-{pins.stem}").write_text(digest(pins))


def main(arguments: list[str]) -> None:
    if sys.version_info < MINIMUM:
        fail(f"Python {MINIMUM[0]}.{MINIMUM[1]} or newer is needed; this is {sys.version.split()[0]}.")
    if len(arguments) != 1 or arguments[0] not in SETS:
        fail(f"name one of: {', '.join(SETS)}")
    pins = HERE / f"{arguments[0]}.txt"
    if installed(VENV, pins) and (arguments[0] != "dev" or installed(OPA, HERE / "opa.txt")):
        return
    VENV.mkdir(exist_ok=True)
    uv = installer()
    python = VENV / "bin" / "python"
    if not python.exists():
        run(uv, "venv", "--quiet", "--allow-existing", "--python", fastest(), str(VENV), why="making .venv")
    print(f"install: {pins.name} into {VENV.name} …", flush=True)
    install = [uv, "pip", "install", "--python", str(python), "--require-hashes", "--no-deps"]
    run(*install, "--requirement", str(pins), why=f"installing {pins.name}")
    if arguments[0] == "dev":
        install_opa(uv)
    stamp(VENV, pins)


if __name__ == "__main__":
    main(sys.argv[1:])
