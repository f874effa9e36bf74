"""Who may give verdicts, and how many."""

from __future__ import annotations

from pathlib import Path

import pytest
from web_server import TOKEN

from daemon.config import parse
from daemon.errors import ConfigError, TokenWrong, TooManyRequests
from daemon.web.backend import read_token
from daemon.web.guard import Allowance, Guard


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_address_may_give_some_at_once_and_then_as_many_as_flow_in() -> None:
    clock = Clock()
    allowance = Allowance(per_hour=60, clock=clock)
    assert [allowance.take("192.0.2.1") for _ in range(6)] == [0.0] * 6
    assert allowance.take("192.0.2.1") == pytest.approx(60)
    assert allowance.take("192.0.2.2") == 0.0
    clock.now = 60
    assert allowance.take("192.0.2.1") == 0.0
    assert allowance.take("192.0.2.1") > 0
    clock.now = 1e6  # an unused allowance does not grow beyond what may be used at once
    assert sum(allowance.take("192.0.2.1") == 0.0 for _ in range(20)) == 6


def test_only_so_many_addresses_are_remembered() -> None:
    allowance = Allowance(per_hour=10, remembered=3, clock=Clock())
    for address in "abcd":
        allowance.take(address)
    assert allowance.take("d") > 0 and allowance.take("a") == 0.0
    assert len(allowance._buckets) == 3


def test_the_addresses_of_one_ipv6_network_are_one() -> None:
    guard = Guard(None, per_hour=10, open_verdicts=False)
    guard.check_osmose("2001:db8:1:2::1", None)
    with pytest.raises(TooManyRequests) as refused:
        guard.check_osmose("2001:db8:1:2:ffff::9", None)
    assert refused.value.retry_after == 360
    guard.check_osmose("2001:db8:1:3::1", None)
    guard.check_osmose("no address", None)


@pytest.mark.parametrize("brought", [
    None, "", TOKEN, "Basic " + TOKEN, "Bearer", "Bearer ", "Bearer tökèn", f"Bearer {TOKEN}x",
])
def test_a_review_needs_the_token(brought: str | None) -> None:
    guard = Guard(TOKEN, per_hour=1e6, open_verdicts=True)
    with pytest.raises(TokenWrong) as refused:
        guard.check_review("192.0.2.1", brought)
    assert TOKEN not in str(refused.value)
    guard.check_review("192.0.2.1", f"bearer {TOKEN}")


def test_without_a_configured_token_nobody_reviews_but_editors_do() -> None:
    guard = Guard(None, per_hour=1e6, open_verdicts=False)
    with pytest.raises(TokenWrong, match=r"web\.token_env"):
        guard.check_review("192.0.2.1", "Bearer ")
    guard.check_osmose("192.0.2.1", None)


def test_editors_need_a_configured_token_unless_that_is_waived() -> None:
    with pytest.raises(TokenWrong):
        Guard(TOKEN, per_hour=1e6, open_verdicts=False).check_osmose("192.0.2.1", None)
    Guard(TOKEN, per_hour=1e6, open_verdicts=False).check_osmose("192.0.2.1", f"Bearer {TOKEN}")
    Guard(TOKEN, per_hour=1e6, open_verdicts=True).check_osmose("192.0.2.1", None)


def test_guesses_at_the_token_are_counted() -> None:
    guard = Guard(TOKEN, per_hour=10, open_verdicts=False)
    with pytest.raises(TokenWrong):
        guard.check_review("192.0.2.1", "Bearer guess")
    with pytest.raises(TooManyRequests):
        guard.check_review("192.0.2.1", f"Bearer {TOKEN}")


def test_the_token_comes_from_the_environment_or_a_private_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def configured(**web: str):
        return parse({"web": web}, "a test", tmp_path).web

    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "token").chmod(0o600)
    monkeypatch.setenv("MAPGAP_TOKEN", TOKEN)
    assert read_token(configured(token_env="MAPGAP_TOKEN")) == TOKEN
    assert read_token(configured(token_file="token")) == TOKEN
    assert read_token(configured()) is None
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(configured(token_file="token"))
    monkeypatch.setenv("MAPGAP_TOKEN", "short")
    with pytest.raises(ConfigError, match="16 characters") as refused:
        read_token(configured(token_env="MAPGAP_TOKEN"))
    assert "short" not in str(refused.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_that_others_reach_needs_a_token(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="name a token"):
        parse({"web": {"host": host}}, "a test", tmp_path)
    parse({"web": {"host": host, "token_env": "MAPGAP_TOKEN"}}, "a test", tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_alone_needs_none(tmp_path: Path, host: str) -> None:
    assert parse({"web": {"host": host}}, "a test", tmp_path).web.host == host
