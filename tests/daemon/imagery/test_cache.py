"""What the disk cache keeps, what it lets go, and that it never stops the work."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from daemon.imagery import Cache


class Days:
    """A clock in Unix seconds that moves when told."""

    now = 1e9

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def days() -> Days:
    return Days()


def test_what_is_put_is_given_also_after_a_restart(tmp_path):
    Cache(tmp_path, 10_000).put("a key", b"content")
    assert Cache(tmp_path, 10_000).get("a key") == b"content"
    assert Cache(tmp_path, 10_000).get("another") is None


def test_keys_cannot_lead_out_of_the_directory(tmp_path):
    cache = Cache(tmp_path / "cache", 100_000)
    keys = ["../../etc/passwd", "/etc/passwd", "a\0b", "x" * 5000, "\udcff", ""]
    for key in keys:
        cache.put(key, key.encode("utf-8", "surrogatepass"))
    assert [cache.get(key) for key in keys] == [key.encode("utf-8", "surrogatepass") for key in keys]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_the_least_recently_used_go_first(tmp_path, days):
    cache = Cache(tmp_path, 10_000, clock=days)
    for i in range(9):
        cache.put(f"{i}", bytes(1000))
    assert cache.get("0") is not None  # used again, so 1 is the oldest now
    for i in range(9, 12):
        cache.put(f"{i}", bytes(1000))
    assert cache.get("0") is not None
    assert cache.get("1") is None
    assert cache.get("11") is not None
    assert cache.used_bytes() <= 10_000


def test_the_quota_holds_whatever_is_put(tmp_path, days):
    cache = Cache(tmp_path, 50_000, clock=days)
    for i in range(200):
        cache.put(f"{i % 77}", bytes(37 * i % 9000))
        assert cache.used_bytes() <= 50_000
    cache.put("too large", bytes(50_001))
    assert cache.get("too large") is None


def test_two_caches_on_one_directory_see_each_other_and_stay_near_the_quota(tmp_path, days):
    one, two = Cache(tmp_path, 100_000, clock=days), Cache(tmp_path, 100_000, clock=days)
    for i in range(200):
        (one if i % 2 else two).put(f"{i}", bytes(2000))
        assert one.used_bytes() <= 112_000
    assert one.get("198") is not None and two.get("199") is not None


def test_an_entry_grows_old(tmp_path, days):
    cache = Cache(tmp_path, 10_000, max_age=100, clock=days)
    cache.put("long", b"l")
    cache.put("short", b"s", max_age=10)
    days.now += 50
    assert (cache.get("long"), cache.get("short")) == (b"l", None)
    assert cache.get_stale("short") == b"s"
    days.now += 51
    assert cache.get("long") is None


def test_a_damaged_entry_is_dropped(tmp_path, caplog):
    cache = Cache(tmp_path, 10_000)
    for damage in (lambda data: data[:-1], lambda data: data[:-1] + b"!", lambda data: b"", lambda data: b"other" * 9):
        cache.put("key", b"content")
        (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
        path.write_bytes(damage(path.read_bytes()))
        assert cache.get("key") is None
        assert not path.exists()
    assert "damaged cache entry dropped" in caplog.text


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    shelf = tmp_path / "ab"
    shelf.mkdir()
    old, new = shelf / "x.partial", shelf / "y.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    Cache(tmp_path, 10_000).put("key", b"content")
    assert not old.exists() and new.exists()


def test_without_quota_nothing_is_kept(tmp_path):
    cache = Cache(tmp_path / "cache", 0)
    cache.put("key", b"content")
    assert cache.get("key") is None
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_says_so_once_and_goes_on(tmp_path, caplog):
    in_the_way = tmp_path / "cache"
    in_the_way.write_bytes(b"a file")
    cache = Cache(in_the_way, 10_000)
    with caplog.at_level(logging.INFO):
        for i in range(5):
            cache.put(f"{i}", b"content")
            assert cache.get(f"{i}") is None
        assert caplog.text.count("going on without") == 1
        in_the_way.unlink()
        cache.put("key", b"content")
    assert cache.get("key") == b"content"
    assert "can be written again" in caplog.text


def test_a_full_disk_does_not_stop_the_work(small_disk):
    small_disk("""
        import logging, io
        said = io.StringIO()
        logging.basicConfig(stream=said)
        from daemon.imagery import Cache
        cache = Cache(DISK, 10**9)
        for i in range(60):
            cache.put(f"{i}", bytes(10_000))
        assert said.getvalue().count("going on without") == 1, said.getvalue()
        assert cache.get("0") == bytes(10_000) and cache.get("59") is None
        assert not list(DISK.rglob("*.partial"))
    """)


def test_threads_share_a_cache(tmp_path):
    cache = Cache(tmp_path, 30_000)
    wrong = []

    def work(name: int) -> None:
        for i in range(60):
            content = f"{i % 7}".encode() * 500
            cache.put(f"{i % 7}", content)
            wrong.extend(found for found in [cache.get(f"{i % 7}")] if found not in (None, content))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.used_bytes() <= 30_000
