"""A server that wants a cookie gets it, nobody else does, and a cookie that is no good is named."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from http_server import Answer, Web

from daemon.config import Config, parse
from daemon.errors import ChangeFileInvalid, ConfigError, LoginRequired, ReplicationRefused, StateInvalid
from daemon.replication import ReplicationSource
from daemon.replication.cookies import Cookie, parse_cookies

SECRET = "login|2024-06-01|c2VjcmV0PT0="
LINE = f'gf_download_oauth="{SECRET}"; HttpOnly; Path=/\n'
HEAD = "# Netscape HTTP Cookie File\n"
PAGE = b"<!DOCTYPE html><html>Log in with OpenStreetMap</html>"


def netscape(host: str, *, below: bool = False, path: str = "/", secure: bool = False, expires: int = 0) -> str:
    flags = ["TRUE" if flag else "FALSE" for flag in (below, secure)]
    return f"#HttpOnly_{host}\t{flags[0]}\t{path}\t{flags[1]}\t{expires}\tgf_download_oauth\t{SECRET}\n"


@pytest.fixture
def elsewhere() -> Iterator[Web]:
    """Another server: the login page's."""
    web = Web("localhost")
    yield web
    web.close()


@pytest.fixture
def cookie_file(tmp_path: Path) -> Path:
    path = tmp_path / "cookie.txt"
    path.write_text(LINE)
    path.chmod(0o600)
    return path


@pytest.fixture
def config(web: Web, tmp_path: Path, cookie_file: Path) -> Config:
    replication = {"url": web.url("/minute"), "cookie_file": "cookie.txt", "retries": 0}
    return parse({"replication": replication}, "test", tmp_path)


@pytest.fixture
def guard(web: Web, minutes) -> Callable[[Answer], None]:
    """Publishes sequences 1 to 3 for those who send the cookie; what others get is given."""

    def make(otherwise: Answer) -> None:
        minutes.publish(1, 3)
        for path in ("/minute/state.txt", *(minutes.path(n, s) for n in (1, 2, 3) for s in ("osc.gz", "state.txt"))):
            (good,) = web._answers[path]
            web.script(path, Answer(write=lambda handler, good=good: send(handler, good, otherwise)))

    return make


def send(handler: BaseHTTPRequestHandler, good: Answer, otherwise: Answer) -> None:
    known = SECRET in handler.headers.get("Cookie", "")
    answer = good if known else otherwise
    handler.send_response(answer.status)
    for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(answer.body)


@pytest.mark.parametrize("content", [
    LINE, f"Set-Cookie: {LINE}", f"Cookie: other=1; gf_download_oauth={SECRET}", HEAD + netscape("127.0.0.1"),
    HEAD + "\n# a comment\nnonsense without a cookie\n" + netscape("127.0.0.1", path="/minute", expires=99_999_999_999),
])  # fmt: skip
def test_the_cookie_opens_the_door_in_every_form(guard, config: Config, cookie_file: Path, content: str) -> None:
    guard(Answer(403))
    cookie_file.write_text(content)
    with ReplicationSource.open(config) as source:
        assert source.newest().sequence == 3
        with source.fetch(2) as file:
            assert file.sequence == 2


@pytest.mark.parametrize(
    "answer", [Answer(401), Answer(403), Answer(200, PAGE), Answer(302, headers={"Location": "/oauth2/authorize?x=1"})],
    ids=["401", "403", "a page", "a redirect to one"],
)
def test_a_cookie_that_is_not_accepted_is_to_be_renewed(
    web: Web, guard, config: Config, cookie_file: Path, answer: Answer
) -> None:
    guard(answer)
    web.put("/oauth2/authorize", PAGE)
    cookie_file.write_text("gf_download_oauth=old-secret")
    with ReplicationSource.open(config) as source:
        for ask in (source.newest, lambda: source.obtain(2)):
            with pytest.raises(LoginRequired, match=r"cookie in .*cookie\.txt.* renew the cookie") as caught:
                ask()
            assert "secret" not in str(caught.value) and "x=1" not in str(caught.value)
        os.utime(cookie_file, (1, 1))  # renewed under a running daemon
        cookie_file.write_text(LINE)
        assert source.newest().sequence == 3
    assert list((config.data_dir / "scratch").iterdir()) == []


@pytest.mark.parametrize("status", [200, 400, 403])
def test_without_a_cookie_a_login_page_says_which_knob_there_is(
    web: Web, elsewhere: Web, guard, open_source, status: int
) -> None:
    guard(Answer(302, headers={"Location": elsewhere.url("/oauth2/authorize")}))
    elsewhere.put("/oauth2/authorize", PAGE, status)
    with pytest.raises(LoginRequired, match=r"wants a login: set replication\.cookie_file"):
        open_source().newest()
    web.put("/minute/state.txt", b"", 401)
    with pytest.raises(LoginRequired, match=r"HTTP 401.*set replication\.cookie_file"):
        open_source().newest()


def test_a_page_elsewhere_that_is_no_login_is_named_after_where_it_came_from(
    web: Web, elsewhere: Web, minutes, open_source
) -> None:
    minutes.publish(1, 1)
    elsewhere.put("/welcome", b"<html>Hotel Wi-Fi</html>")
    away = Answer(302, headers={"Location": elsewhere.url("/welcome")})
    web.script(minutes.path(1, "osc.gz"), away)
    with pytest.raises(ChangeFileInvalid, match=r"001\.osc\.gz: a web page, at .*/welcome, .* captive portal"):
        open_source().obtain(1)
    web.script("/minute/state.txt", away)
    with pytest.raises(StateInvalid, match=r"state\.txt: a web page, at .*/welcome, .* captive portal"):
        open_source().newest()


def test_the_cookie_is_not_sent_on_to_another_host(
    web: Web, elsewhere: Web, minutes, config: Config
) -> None:
    elsewhere.put("/state.txt", minutes.state_file(7))
    web.script("/minute/state.txt", Answer(307, headers={"Location": elsewhere.url("/state.txt")}))
    with ReplicationSource.open(config) as source:
        assert source.newest().sequence == 7
    assert all(SECRET in headers["Cookie"] for _, headers in web.requests)
    assert [headers.get("Cookie") for _, headers in elsewhere.requests] == [None]


def test_the_cookie_is_not_sent_to_larger_files_of_another_host(elsewhere: Web, minutes, config: Config) -> None:
    elsewhere.put("/day/state.txt", minutes.state_file(7))
    with ReplicationSource.open(config, url=elsewhere.url("/day")) as source:
        source.newest()
    assert [headers.get("Cookie") for _, headers in elsewhere.requests] == [None]


def test_an_expired_cookie_is_named_before_anybody_is_asked(web: Web, config: Config, cookie_file: Path) -> None:
    cookie_file.write_text(HEAD + netscape("127.0.0.1", expires=int(time.time()) - 60))
    with ReplicationSource.open(config) as source, pytest.raises(LoginRequired, match=r"0\.0\.1 expired on 20"):
        source.newest()
    cookie_file.write_text(f"gf_download_oauth={SECRET}; Expires=Wed, 01 May 2019 10:00:00 GMT; Path=/")
    with ReplicationSource.open(config) as source, pytest.raises(LoginRequired, match="expired on 2019-05-01"):
        source.newest()
    assert web.requests == []


@pytest.mark.parametrize(("content", "mode", "said"), [
    (LINE, 0o644, "is readable by others .* chmod 600"),
    ("", 0o600, "holds no cookie; expected"),
    ("<html>Log in</html>\n", 0o600, "holds no cookie; expected"),
    ("a=b\x00c\nd=\u00fc\n", 0o600, "holds no cookie; expected"),
    (HEAD + netscape("example.org", below=True), 0o600, r"holds no cookie for 127\.0\.0\.1"),
    (HEAD + netscape("127.0.0.1", secure=True), 0o600, r"holds no cookie for 127\.0\.0\.1"),
    (HEAD + netscape("127.0.0.1", path="/min"), 0o600, r"holds no cookie for 127\.0\.0\.1"),
])  # fmt: skip
def test_a_file_that_is_of_no_use_is_a_matter_of_configuration(
    config: Config, cookie_file: Path, content: str, mode: int, said: str
) -> None:
    cookie_file.write_text(content)
    cookie_file.chmod(mode)
    with pytest.raises(ConfigError, match=said) as caught:
        ReplicationSource.open(config)
    assert caught.value.source == "replication.cookie_file" and SECRET not in str(caught.value)


def test_no_file_is_a_matter_of_configuration(config: Config, cookie_file: Path) -> None:
    cookie_file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        ReplicationSource.open(config)


def test_a_refusal_that_no_cookie_is_to_blame_for_stays_a_refusal(web: Web, open_source) -> None:
    web.put("/minute/state.txt", b"", 403)
    with pytest.raises(ReplicationRefused, match="HTTP 403") as caught:
        open_source().newest()
    assert not isinstance(caught.value, LoginRequired)


@pytest.mark.parametrize(("url", "goes"), [
    ("https://osm-internal.download.geofabrik.de/europe/state.txt", True),
    ("https://download.geofabrik.de/europe/state.txt", True),
    ("https://geofabrik.de/europe/state.txt", True),
    ("https://geofabrik.de/europeans/state.txt", False),
    ("http://geofabrik.de/europe/state.txt", False),
    ("https://notgeofabrik.de/europe/state.txt", False),
    ("https://geofabrik.de.example.org/europe/state.txt", False),
])  # fmt: skip
def test_a_cookie_goes_where_it_belongs(url: str, goes: bool) -> None:
    (cookie,) = parse_cookies(netscape(".geofabrik.de", below=True, path="/europe", secure=True), "x")
    assert cookie.may_go_to(url) is goes
    assert SECRET not in repr(cookie)
    assert not Cookie("a=b", "download.geofabrik.de").may_go_to("https://geofabrik.de/")
