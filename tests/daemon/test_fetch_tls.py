"""Fetcher over https://, against a server with a certificate of its own."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_server import Answer, Web

from daemon.fetch import FetchError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate for 127.0.0.1 in one PEM file."""
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate needs `openssl`")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    names = "-days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", "req", "-x509", *key.split(), *names.split(), "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[Web]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    web = Web(tls=context)
    yield web
    web.close()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_suffix(".crt")))


@pytest.mark.usefixtures("trusted")
def test_large_and_small_bodies_come_over_tls(secure, fetcher, tmp_path):
    body = bytes(range(256)) * 10_000
    secure.put("/large", body)
    secure.put("/small", b"x")
    assert fetcher.get(secure.url("/large"), max_bytes=len(body)).content == body
    assert fetcher.get(secure.url("/small"), max_bytes=1).content == b"x"
    fetcher.download(secure.url("/large"), tmp_path / "a", max_bytes=len(body))
    assert (tmp_path / "a").read_bytes() == body


@pytest.mark.usefixtures("trusted")
def test_a_dripping_server_is_given_up_over_tls(secure, fetchers):
    secure.script("/a", secure.drip(b"HTTP/1.1 200 OK\r\n\r\n"))
    with pytest.raises(FetchError, match="slower than"):
        fetchers(timeout=0.3).get(secure.url("/a"), max_bytes=10**6)


@pytest.mark.usefixtures("trusted")
def test_https_does_not_lead_to_http(secure, web, fetcher):
    web.put("/b", b"here")
    secure.script("/a", Answer(302, headers={"Location": web.url("/b?key=hunter2")}))
    with pytest.raises(FetchError, match=r"redirects from https to http .*refused") as caught:
        fetcher.get(secure.url("/a"), max_bytes=10)
    assert "hunter2" not in str(caught.value) and web.requests == []
    web.script("/up", Answer(302, headers={"Location": secure.url("/c")}))
    secure.put("/c", b"safe")
    assert fetcher.get(web.url("/up"), max_bytes=10).content == b"safe"


def test_a_certificate_nobody_vouches_for_is_refused_at_once(secure, fetchers, clock):
    secure.put("/a", b"x")
    with pytest.raises(FetchError, match="certificate is not valid") as caught:
        fetchers(retries=3).get(secure.url("/a"), max_bytes=10)
    assert not caught.value.transient and clock.sleeps == []
