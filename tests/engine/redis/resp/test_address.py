"""URLs of one Redis server: what they mean, what is wrong with them, and that passwords stay in them."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastws.engine.redis.resp.address import Address, Tls, parse_address, split_url
from fastws.errors import ConfigError
from tests.support.certificates import self_signed


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("redis://", Address(), "redis://127.0.0.1:6379/0"),
        ("redis://example.org", Address("example.org"), "redis://example.org:6379/0"),
        ("REDIS://h:1/3", Address("h", 1, db=3), "redis://h:1/3"),
        ("redis://h/", Address("h"), "redis://h:6379/0"),
        ("redis://h?db=7", Address("h", db=7), "redis://h:6379/7"),
        ("redis://:pw@h", Address("h", password="pw"), "redis://h:6379/0"),
        ("redis://ann:p%40w@h:2", Address("h", 2, username="ann", password="p@w"), "redis://h:2/0"),
        ("redis://ann:p@w@h:2", Address("h", 2, username="ann", password="p@w"), "redis://h:2/0"),
        ("redis://[::1]:7/1", Address("::1", 7, db=1), "redis://[::1]:7/1"),
        ("redis://[fe80::1%25lo]", Address("fe80::1%lo"), "redis://[fe80::1%lo]:6379/0"),
        ("redis://h?protocol=2", Address("h", protocol=2), "redis://h:6379/0"),
        ("rediss://h", Address("h", tls=Tls()), "rediss://h:6379/0"),
        (
            "rediss://h?ssl_ca_certs=%2Fca.crt&ssl_certfile=c&ssl_keyfile=k&ssl_cert_reqs=none",
            Address("h", tls=Tls("/ca.crt", "c", "k", verify=False)),
            "rediss://h:6379/0",
        ),
        ("unix:///run/redis.sock", Address(unix="/run/redis.sock"), "unix:///run/redis.sock"),
        (
            "unix://ann:pw@/run/r%20s?db=2",
            Address(unix="/run/r s", db=2, username="ann", password="pw"),
            "unix:///run/r s?db=2",
        ),
        ("unix:///run/@redis", Address(unix="/run/@redis"), "unix:///run/@redis"),
    ],
)
def test_what_a_url_means(url: str, address: Address, shown: str) -> None:
    assert parse_address(url) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "redis://host"),
        ("h:6379", "redis://host"),
        ("redis://h\n", "redis://host"),
        ("http://h", "'http'"),
        ("redis+sentinel://h?sentinel_master_name=m", "redis+sentinel"),
        ("redis://a,b", "several hosts"),
        ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://h:²", "port"),
        ("redis://h/x", "database"),
        ("redis://h/-1", "database"),
        ("redis://h/99999999999", "database"),
        ("redis://h?db=1&timeout=3", "'timeout'"),
        ("redis://h?ssl_certfile=x", "'ssl_certfile'"),
        ("rediss://h?ssl_cert_reqs=maybe", "required, none"),
        ("redis://h?protocol=4", "2 or 3"),
        ("redis://[::1", "IPv6"),
        ("redis://[h]", "IPv6"),
        ("redis://[::1]x", "IPv6"),
        ("redis://%ff", "UTF-8"),
        ("redis://:p#w@h", "%23"),
        ("redis://:p/w@h", "%2F"),
        ("unix://run/redis.sock", "begins with a slash"),
        ("unix://", "begins with a slash"),
        ("unix:///", "begins with a slash"),
        ("unix:///s?ssl_certfile=x", "'ssl_certfile'"),
    ],
)
def test_what_is_wrong_with_it(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(url)
    assert says in str(caught.value)
    assert "p/w" not in str(caught.value)


@given(st.text(min_size=1), st.text(), st.sampled_from(["redis", "rediss"]))
@example("p@ss/word:#?%&+ ", "ann:@/", "redis")
def test_any_password_survives_and_is_never_shown(password: str, username: str, scheme: str) -> None:
    try:
        url = f"{scheme}://{quote(username, safe='')}:{quote(password, safe='')}@localhost:6379/0"
    except UnicodeEncodeError:
        return  # lone surrogates are no text
    address = parse_address(url)
    assert (address.username, address.password, address.host) == (username, password, "localhost")
    if len(password) > 4:
        for shown in (str(address), repr(address), repr(split_url(url))):
            assert password not in shown.replace("localhost", "").replace("127.0.0.1", "").replace("6379", "")


@given(st.text())
@example("redis://[::1]:99999@")
@example("redis://:\x00@h")
def test_nothing_but_a_config_error(text: str) -> None:
    for url in (text, f"redis://{text}", f"unix:///{text}"):
        try:
            parse_address(url)
        except ConfigError:
            pass


def test_of_several_hosts() -> None:
    url = split_url("redis+sentinel://ann:pw@h1:1,h2,[::1]:3/2?sentinel_master_name=m%20m")
    assert url.hosts == (("h1", 1), ("h2", None), ("::1", 3))
    assert (url.username, url.password, url.path) == ("ann", "pw", "/2")
    assert url.options == {"sentinel_master_name": "m m"}


def test_another_server_of_the_same_kind() -> None:
    address = parse_address("rediss://ann:pw@h:1/2?ssl_cert_reqs=none")
    other = address.at("::2", 9)
    assert (other.host, other.port, other.db, other.password, other.tls) == ("::2", 9, 2, "pw", address.tls)


def test_files_of_tls(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    context = Tls(certificate.certfile, certificate.certfile, certificate.keyfile).context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    context = Tls(verify=False).context()
    assert context.verify_mode is ssl.CERT_NONE
    locked = self_signed(tmp_path, "locked", encrypted=True)
    for wrong in (
        Tls(str(tmp_path / "missing")),
        Tls(certificate.keyfile),
        Tls("", locked.certfile, locked.keyfile),
        Tls("", certificate.certfile, locked.certfile),
    ):
        with pytest.raises(ConfigError, match="TLS for Redis"):
            wrong.context()
