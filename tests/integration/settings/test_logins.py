"""The other ways to Vault: a Kubernetes service account, TLS with an authority of one's own."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from settings.vault import (
    KUBERNETES_TOKEN_FILE,
    SecretReader,
    VaultConnection,
    VaultLoginRefused,
    VaultUnreachable,
)
from tests.integration.settings.conftest import Installation
from tests.integration.settings.openbao import HOST, OpenBao

SERVICE_ACCOUNT_JWT = (
    # Of the service account somaagent in the namespace agents, not really signed: the API server vouches.
    "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9."
    "eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50Iiwia3ViZXJuZXRlcy5pby9zZXJ2aWNlYWNjb3VudC9uYW1lc3BhY2UiOiJhZ2VudHM"
    "iLCJrdWJlcm5ldGVzLmlvL3NlcnZpY2VhY2NvdW50L3NlcnZpY2UtYWNjb3VudC5uYW1lIjoic29tYWFnZW50Iiwia3ViZXJuZXRlcy5pby9zZX"
    "J2aWNlYWNjb3VudC9zZXJ2aWNlLWFjY291bnQudWlkIjoiYS11aWQifQ."
    "c2lnbmF0dXJl"
)  # fmt: skip


class ApiServer(BaseHTTPRequestHandler):
    """The one question that Vault asks of Kubernetes: whose token is this?"""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = asked["spec"]["token"] == SERVICE_ACCOUNT_JWT
        user = {"username": "system:serviceaccount:agents:somaagent", "uid": "a-uid", "groups": []}
        status = {"authenticated": True, "user": user} if known else {"authenticated": False}
        body = json.dumps(
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
        ).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def api_server() -> Iterator[str]:
    server = ThreadingHTTPServer((HOST, 0), ApiServer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://{HOST}:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for our address, and its key."""
    certificate, key = folder / "vault.pem", folder / "vault.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=vault",
         "-addext", f"subjectAltName=IP:{HOST}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_a_pod_logs_in_with_its_service_account(
    vault: OpenBao, installation: Installation, api_server: str, tmp_path: Path
):
    client, mount = vault.client(), installation.environment["SA01_VAULT_MOUNT"]
    client.sys.enable_auth_method("kubernetes")
    client.write_data(
        "auth/kubernetes/config",
        data={
            "kubernetes_host": api_server,
            "kubernetes_ca_cert": self_signed(tmp_path)[0].read_text(),
            "token_reviewer_jwt": "reviewer",
            "disable_local_ca_jwt": True,
        },
    )
    client.write_data(
        f"auth/kubernetes/role/{mount}",
        data={
            "bound_service_account_names": "somaagent",
            "bound_service_account_namespaces": "agents",
            "token_policies": f"{mount}-app",
            "token_ttl": "1h",
        },
    )
    file = tmp_path / "service-account"
    file.write_text(SERVICE_ACCOUNT_JWT)
    connection = VaultConnection(
        address=vault.address,
        auth="kubernetes",
        mount=mount,
        kubernetes_role=mount,
        kubernetes_token_file=file,
    )
    reader = SecretReader(connection)
    assert reader.read("core", "secret_key")
    reader.close()

    with pytest.raises(VaultLoginRefused, match="refused this pod's service account for the role nobody"):
        SecretReader(replace(connection, kubernetes_role="nobody")).open(0)
    with pytest.raises(VaultLoginRefused, match="cannot be read from /var/run/secrets/kubernetes"):
        SecretReader(replace(connection, kubernetes_token_file=KUBERNETES_TOKEN_FILE)).open(0)


def test_a_certificate_is_verified_with_the_authority_that_is_named(tmp_path: Path):
    certificate, key = self_signed(tmp_path)
    server = OpenBao(tmp_path / "tls", certificate=(certificate, key))
    try:
        connection = VaultConnection(
            address=server.address, auth="token_file", mount="soma", token_file=server.operator_token_file
        )
        SecretReader(replace(connection, ca_file=certificate)).open(0)
        with pytest.raises(VaultUnreachable, match="a certificate that cannot be verified") as refused:
            SecretReader(connection).open(0)
        assert "SA01_VAULT_CA_FILE" in refused.value.mend
        with pytest.raises(VaultUnreachable, match=r"is not a certificate authority|cannot be verified"):
            SecretReader(replace(connection, ca_file=key)).open(0)
        with pytest.raises(VaultUnreachable, match="There is no certificate authority at"):
            SecretReader(replace(connection, ca_file=tmp_path / "gone")).open(0)
        with pytest.raises(VaultUnreachable, match="speaks HTTPS"):
            SecretReader(replace(connection, address=server.address.replace("https", "http"))).open(0)
    finally:
        server.stop()
