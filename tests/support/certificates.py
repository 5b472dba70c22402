"""Certificates of a server for tests, made anew each time: no key lies in the repository, and none expires there."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

PASSWORD = "opensesame"
_NAMES = x509.SubjectAlternativeName(
    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))],
)


class Certificate(NamedTuple):
    """Paths of PEM files."""

    certfile: str
    keyfile: str

    @property
    def options(self) -> tuple[str, str, str, str]:
        """What `fastws-server` is started with."""
        return ("--ssl-certfile", self.certfile, "--ssl-keyfile", self.keyfile)


def self_signed(directory: Path, name: str = "server", *, encrypted: bool = False, kind: str = "ec") -> Certificate:
    """Write a certificate for localhost and 127.0.0.1 into `directory`, and its key (`kind`: ec or rsa).

    :param encrypted: the key is written under PASSWORD.
    """
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(_NAMES, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = Certificate(str(directory / f"{name}.crt"), str(directory / f"{name}.key"))
    Path(paths.certfile).write_bytes(certificate.public_bytes(Encoding.PEM))
    encryption = BestAvailableEncryption(PASSWORD.encode()) if encrypted else NoEncryption()
    Path(paths.keyfile).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return paths
