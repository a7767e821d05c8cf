"""A certificate of the tests' own, for their servers that speak HTTPS."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from somaagent.embedded.addresses import loopback


@dataclass(frozen=True, slots=True)
class Certificate:
    """For the loopback address. ``trusted`` holds it besides what this machine trusts."""

    certificate: Path
    key: Path
    trusted: Path

    @classmethod
    def kept_in(cls, folder: Path) -> Certificate:
        """The one that is there; it is made if there is none."""
        made = cls(folder / "certificate.pem", folder / "key.pem", folder / "trusted.pem")
        if not made.trusted.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            _make(made)
        return made

    @property
    def environment(self) -> dict[str, str]:
        """By these, OpenSSL's users (websockets, httpx), requests and Node trust it."""
        return dict.fromkeys(
            ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), str(self.trusted)
        )

    @property
    def browser_flag(self) -> str:
        """By this, Chromium trusts it, and no other that it would not."""
        public = x509.load_pem_x509_certificate(self.certificate.read_bytes()).public_key()
        written = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = base64.b64encode(hashlib.sha256(written).digest()).decode()
        return f"--ignore-certificate-errors-spki-list={digest}"

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def _make(wanted: Certificate) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=tests", "-addext", f"subjectAltName=IP:{loopback()}",
         "-keyout", wanted.key, "-out", wanted.certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    machine = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or certifi.where()
    known = Path(machine).read_text(encoding="utf-8")
    wanted.trusted.write_text(known + wanted.certificate.read_text(encoding="utf-8"), encoding="utf-8")
