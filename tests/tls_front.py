"""TLS before a server that speaks none: a terminator, and the authority that signs its certificate."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from somaagent.embedded.addresses import loopback
from tests.loops import server_beside

_DAY = timedelta(days=1)


class Authority:
    """Signs certificates. ``file`` is its own, as PEM."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _called(name)
        self.file = folder / f"{name}.pem"
        ours = _begun(self._name, self._name, self._key.public_key())
        ours = ours.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file.write_bytes(_pem(ours.sign(self._key, hashes.SHA256())))

    def server(self) -> ssl.SSLContext:
        """For a server at the loopback address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(loopback()))])
        made = _begun(_called("server"), self._name, key.public_key()).add_extension(names, critical=False)
        pair = self._folder / f"{self.file.stem}-server.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pair.write_bytes(private + _pem(made.sign(self._key, hashes.SHA256())))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        return context


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(name: x509.Name, by: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(by).public_key(key)
    made = made.serial_number(x509.random_serial_number())
    return made.not_valid_before(now - _DAY).not_valid_after(now + _DAY)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@contextmanager
def front(address: str, to: str, context: ssl.SSLContext) -> Iterator[None]:
    """Ends TLS at ``address`` and passes on what is said, both ways, ``to`` another."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = to.rsplit(":", 1)
        with suppress(OSError):
            there, back = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_passed(reader, back), _passed(there, writer))

    host, port = address.rsplit(":", 1)
    with server_beside(meet, host, int(port), ssl=context):
        yield


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # whoever went away is told by the other one
    finally:
        writer.close()
