"""The connection goes to an address, the certificate has to be the name's."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chatbot.errors import RetryLater
from chatbot.fetching import Client
from tests.unit.fetching.wire import HOME, PUBLIC, Wire, answer


def certificate(name: str, folder: Path) -> Path:
    """A file with a certificate of a name that it signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


class Tls:
    """Serves with a certificate, and notes the names that clients ask for."""

    def __init__(self, file: Path) -> None:
        self.asked: list[str] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(file)
        self.context.sni_callback = lambda _, name, __: self.asked.append(str(name))

    def __call__(self, connection: socket.socket) -> socket.socket:
        return self.context.wrap_socket(connection, server_side=True)


def client(file: Path) -> Client:
    made = Client(f"https://{HOME}", lambda: 60.0)
    made._session.verify = str(file)
    return made


def test_server_is_asked_by_its_name_when_an_address_is_connected_to(
    wire: Wire, tmp_path: Path
) -> None:
    file = certificate(HOME, tmp_path)
    wire.wrap = server = Tls(file)
    wire.serve = answer("HTTP/1.1 200 OK", body=b"1")
    assert client(file).get("a").json() == 1
    assert wire.connected == [(PUBLIC, 443)]
    assert server.asked == [HOME]
    assert b"\r\nHost: home.example.org\r\n" in wire.requests[0]


@pytest.mark.parametrize("name", ["other.example.org", PUBLIC])
def test_certificate_of_another_name_is_refused(name: str, wire: Wire, tmp_path: Path) -> None:
    file = certificate(name, tmp_path)
    wire.wrap = Tls(file)
    with pytest.raises(RetryLater, match="SSLError"):
        client(file).get("a")
    assert wire.requests == []
