"""Certificates, keys and passwords: what fits together is served, and what does not is said."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from fastws.errors import ConfigError
from fastws.net.tls.context import server_context
from tests.support.certificates import PASSWORD, Certificate, self_signed


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("tls"), encrypted=True)


def handshake(context: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Let two ends shake hands in memory; returns the client's."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_end = context.wrap_bio(to_server, to_client, server_side=True)
    client_end = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    done = 0
    while done != 2:
        done = 0
        for end in (client_end, server_end):
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
    return client_end


def client_context(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.certfile)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_verifies(tmp_path: Path, kind: str, version: ssl.TLSVersion) -> None:
    certificate = self_signed(tmp_path, kind=kind)
    client = client_context(certificate)
    client.minimum_version = client.maximum_version = version
    client.set_alpn_protocols(["h2", "http/1.1"])
    end = handshake(server_context(certificate.certfile, certificate.keyfile), client)
    assert end.selected_alpn_protocol() == "http/1.1"
    assert end.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2"}.get(version, "TLSv1.3")
    assert end.compression() is None


def test_a_client_without_alpn(certificate: Certificate) -> None:
    end = handshake(server_context(certificate.certfile, certificate.keyfile), client_context(certificate))
    assert end.selected_alpn_protocol() is None


@pytest.mark.parametrize("ciphers", ["AES256-GCM-SHA384", "ECDHE+AES+SHA"], ids=["no forward secrecy", "CBC"])
def test_weak_ciphers_are_refused(certificate: Certificate, ciphers: str) -> None:
    client = client_context(certificate)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(ciphers)
    with pytest.raises(ssl.SSLError):
        handshake(server_context(certificate.certfile, certificate.keyfile), client)


def test_old_versions_are_refused(certificate: Certificate) -> None:
    context = server_context(certificate.certfile, certificate.keyfile)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_certificate_and_key_in_one_file(tmp_path: Path, certificate: Certificate) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(certificate.certfile).read_text() + Path(certificate.keyfile).read_text())
    handshake(server_context(str(both)), client_context(certificate))


def test_an_encrypted_key(encrypted: Certificate) -> None:
    handshake(server_context(encrypted.certfile, encrypted.keyfile, PASSWORD), client_context(encrypted))


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        (None, "the key is encrypted: set --ssl-keyfile-password"),
        ("", "the key is encrypted: set --ssl-keyfile-password"),
        ("wrong", "cannot be decrypted: check --ssl-keyfile-password"),
        ("x" * 1025, "at most 1024 bytes"),
    ],
)
def test_a_key_that_cannot_be_decrypted(encrypted: Certificate, password: str | None, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        server_context(encrypted.certfile, encrypted.keyfile, password)


def test_files_that_cannot_be_read(tmp_path: Path, certificate: Certificate) -> None:
    with pytest.raises(ConfigError, match=r"--ssl-certfile .*none\.pem: cannot be read: No such file"):
        server_context(str(tmp_path / "none.pem"), certificate.keyfile)
    with pytest.raises(ConfigError, match=r"--ssl-keyfile .*: cannot be read: Is a directory"):
        server_context(certificate.certfile, str(tmp_path))


def test_files_with_something_else(tmp_path: Path, certificate: Certificate) -> None:
    with pytest.raises(ConfigError, match=r"--ssl-certfile .*: there is no private key in it: .*--ssl-keyfile"):
        server_context(certificate.certfile)
    with pytest.raises(ConfigError, match=r"--ssl-certfile .*: there is no certificate in PEM"):
        server_context(certificate.keyfile, certificate.keyfile)
    with pytest.raises(ConfigError, match=r"--ssl-keyfile .*: there is no private key in PEM"):
        server_context(certificate.certfile, certificate.certfile)
    der = tmp_path / "der"
    der.write_bytes(ssl.PEM_cert_to_DER_cert(Path(certificate.certfile).read_text()))
    with pytest.raises(ConfigError, match="openssl x509 -inform der"):
        server_context(str(der), certificate.keyfile)
    torn = tmp_path / "torn"
    torn.write_text(Path(certificate.certfile).read_text()[:200])
    with pytest.raises(ConfigError, match="OpenSSL cannot use them: "):
        server_context(str(torn), certificate.keyfile)


def test_the_key_of_another_certificate(tmp_path: Path, certificate: Certificate) -> None:
    other = self_signed(tmp_path)
    with pytest.raises(ConfigError, match="does not belong to the certificate in"):
        server_context(certificate.certfile, other.keyfile)
