"""From a certificate and its key to what the handshakes are made with; what is wrong with the files is said here."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from fastws.errors import ConfigError

# TLS 1.2: keys that are made anew for each connection, and no other modes than authenticated encryption (RFC 9325 4.2).
# What TLS 1.3 has is all of that kind, and is not listed here.
_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

_ONE_TICKET: Final = 1  # for a client that comes back; OpenSSL sends two, browsers keep one
_LONGEST_PASSWORD: Final = 1024  # OpenSSL's PEM_BUFSIZE


def server_context(certfile: str, keyfile: str | None = None, password: str | None = None) -> ssl.SSLContext:
    """Return the context of a server: TLS 1.2 and later, HTTP/1.1 in ALPN.

    `certfile`: PEM with the certificate first and its chain after it. `keyfile`: PEM with the private key; by default
    it is in `certfile`. `password`: of that key. Raises `ConfigError`, which names the option and says what to do.
    """
    _check_file("--ssl-certfile", certfile, b"-----BEGIN CERTIFICATE-----", "certificate")
    key_option, key_path = ("--ssl-keyfile", keyfile) if keyfile else ("--ssl-certfile", certfile)
    _check_file(key_option, key_path, b"PRIVATE KEY-----", "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_CIPHERS)
    # A client could make the server do the dear part of the handshake again and again (TLS 1.2 only).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = _ONE_TICKET
    _load(context, certfile, keyfile, password)
    return context


def _check_file(option: str, path: str, mark: bytes, kind: str) -> None:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be read: {error.strerror}") from error
    if mark in content:
        return
    if kind == "private key" and option == "--ssl-certfile":
        raise ConfigError(f"{option} {path}: there is no private key in it: name the file that has it as --ssl-keyfile")
    raise ConfigError(
        f"{option} {path}: there is no {kind} in PEM in it (text that begins with -----BEGIN); "
        f"DER is converted by: openssl {'x509' if kind == 'certificate' else 'pkey'} -inform der -in FILE"
    )


def _load(context: ssl.SSLContext, certfile: str, keyfile: str | None, password: str | None) -> None:
    asked = False

    def answer() -> str:
        # Without a callback OpenSSL would ask at the terminal.
        nonlocal asked
        asked = True
        return password or ""

    key_name = f"--ssl-keyfile {keyfile}" if keyfile else f"--ssl-certfile {certfile}"
    if password is not None and len(password.encode()) > _LONGEST_PASSWORD:
        raise ConfigError(f"--ssl-keyfile-password must be at most {_LONGEST_PASSWORD} bytes")
    try:
        context.load_cert_chain(certfile, keyfile, answer)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"{key_name}: the key does not belong to the certificate in {certfile}; "
                f"the server's own certificate has to be the first one there"
            ) from error
        if asked and not password:
            raise ConfigError(f"{key_name}: the key is encrypted: set --ssl-keyfile-password") from error
        if asked:
            raise ConfigError(f"{key_name}: the key cannot be decrypted: check --ssl-keyfile-password") from error
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise ConfigError(f"--ssl-certfile {certfile}, {key_name}: OpenSSL cannot use them: {reason}") from error
