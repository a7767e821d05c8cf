"""An OpenID provider that runs: `oidc-provider` of npm, which is certified, on Node, over HTTPS."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock

from somaagent.embedded.addresses import loopback
from tests.stack import PROJECT_ROOT, RunningStack, foreign_environment
from tests.tls import Certificate

HERE = Path(__file__).parent
INSTALLED = PROJECT_ROOT / ".cache" / "oidc"
_INSTALL_SECONDS = 240
_READY_SECONDS = 30.0


def installed() -> Path:
    """The folder with the packages, as the lock file has them; from npm's registry the first time."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with FileLock(INSTALLED / "lock"):
        lock = (HERE / "package-lock.json").read_bytes()
        stamp = INSTALLED / "installed"
        if not stamp.is_file() or stamp.read_bytes() != lock:
            if shutil.which("npm") is None:
                raise RuntimeError(
                    "The tests' OpenID provider runs on Node 20 or newer: install node and npm."
                )
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(HERE / name, INSTALLED / name)
            done = subprocess.run(
                ["npm", "ci", "--ignore-scripts"],
                cwd=INSTALLED,
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=_INSTALL_SECONDS,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"npm cannot install the tests' OpenID provider: {done.stderr[-2000:]}")
            stamp.write_bytes(lock)
    return INSTALLED


def _environment() -> dict[str, str]:
    """Node knows no ``SSL_CERT_FILE``: it is told anew of an authority that everything else here trusts."""
    told = dict(os.environ)
    if authority := told.get("SSL_CERT_FILE"):
        told.setdefault("NODE_EXTRA_CA_CERTS", authority)
    return told


def issuer_at(port: int) -> str:
    """What a provider that runs there calls itself."""
    return f"https://{loopback()}:{port}"


@contextlib.contextmanager
def running(
    certificate: Certificate, *, port: int, clients: list[dict[str, Any]], people: dict[str, Any]
) -> Iterator[str]:
    """The provider with these clients and people; gives its issuer."""
    issuer = issuer_at(port)
    served = {"issuer": issuer, "key": str(certificate.key), "certificate": str(certificate.certificate)}
    facts = json.dumps(served | {"clients": clients, "people": people})
    folder = installed()
    with (folder / f"provider-{port}.log").open("wb") as output:
        node = subprocess.Popen(
            ["node", str(HERE / "provider.mjs"), facts], cwd=folder, stdout=output, stderr=output
        )
    try:
        _wait_for(f"{issuer}/.well-known/openid-configuration", node, folder / f"provider-{port}.log")
        yield issuer
    finally:
        node.terminate()
        node.wait(15)
        (folder / f"provider-{port}.log").unlink()


def _wait_for(url: str, node: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while True:
        try:
            requests.get(url, timeout=2).raise_for_status()
        except requests.RequestException as error:
            if node.poll() is not None or time.monotonic() > until:
                raise RuntimeError(
                    f"The OpenID provider does not start: {log.read_text()[-3000:]}"
                ) from error
            time.sleep(0.1)
        else:
            return


def keep_secret(stack: RunningStack, slug: str, secret: str) -> None:
    """Put the client secret of a declared provider into Vault, as its operator does."""
    operator = {"SA01_VAULT_OPERATOR_TOKEN_FILE": str(stack.operator_token_file)}
    subprocess.run(
        [sys.executable, "manage.py", "secret", "set", f"oidc/{slug}", "--stdin"],
        cwd=PROJECT_ROOT,
        env=foreign_environment() | stack.environment | operator,
        input=secret,
        text=True,
        check=True,
        capture_output=True,
        timeout=60,
    )
