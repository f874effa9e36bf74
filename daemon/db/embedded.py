"""An embedded PostgreSQL under the data directory: started, adopted, revived, stopped.

    <data_dir>/postgres/data/        what PostgreSQL calls its data directory
    <data_dir>/postgres/run/         its unix socket, and no TCP; a short temporary directory when too long
    <data_dir>/postgres/server.log   what it says
    <data_dir>/postgres/*.lock       start.lock: one process at a time starts or stops it; users.lock: who uses it

Each process that uses the server holds a shared lock on users.lock, which the kernel lets go of even after `kill -9`.
Whoever leaves and finds no other user stops the server, whoever started it. So a server orphaned by a killed daemon is
adopted by the next one, and a short command beside a running daemon neither stops its server nor is stopped with it.

A server counts as running when it answers on its socket and proves that it serves this very directory; that its process
exists says nothing (the id may be another's by now, the server may be dying).
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import psycopg2
from psycopg2.extensions import make_dsn

from daemon.db.binaries import (
    Binaries,
    choose_account,
    find_binaries,
    keep_from_cleaning,
    process_options,
)
from daemon.db.queries import query
from daemon.db.sockets import SOCKET_NAME, make_socket_dir
from daemon.errors import DatabaseError, DatabaseUnavailable, MapgapError, StorageFull

USER = "mapgap"
#: Server settings: no TCP, few processes, no parallel workers (containers often have a tiny /dev/shm).
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "", "port": "5432", "max_connections": "60", "shared_buffers": "128MB", "jit": "off",
    "max_parallel_workers_per_gather": "0", "max_wal_size": "1GB", "timezone": "UTC", "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ", "unix_socket_permissions": "0700", "logging_collector": "off",
}
#: A process id that no kernel gives out.
_NO_PID = 2**31 - 1
_LOG_MOST = 8 * 1024**2
FULL = re.compile(r"No space left on device|Disk quota exceeded")


class EmbeddedServer:
    """The PostgreSQL server of one data directory; a context manager that runs it for the length of the block.

    Args:
        data_dir: mapgap's data directory; made if it is missing.
        settings: further server settings.
        patience: seconds to wait for a start (crash recovery included) before it counts as failed.

    Raises (on entry and from `ensure_running`):
        DatabaseUnavailable: the server does not start; the message ends with what its log says.
        DatabaseError: the directory is another major version's or not writable, or there are no programs to run.
        StorageFull: no space left under the data directory.
    """

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None, patience: float = 300.0):
        self._state = Path(data_dir).resolve() / "postgres"
        self._data = self._state / "data"
        self._log = self._state / "server.log"
        self._settings = {**SETTINGS, **(settings or {})}
        self._patience = patience
        self._identity = f"mapgap.directory={self._state}"
        self._users: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_dir = self._state / "run"

    @staticmethod
    def exists(data_dir: Path) -> bool:
        """Whether a server was ever made in this data directory."""
        return (Path(data_dir) / "postgres" / "data" / "PG_VERSION").exists()

    @property
    def dsn(self) -> str:
        """Connection string without password: only the server's account and root enter the socket's directory."""
        return self._dsn_at(self._socket_dir)

    def _dsn_at(self, socket_dir: Path) -> str:
        return make_dsn(host=str(socket_dir), port=self._settings["port"], user=USER, dbname="postgres")

    @property
    def pid(self) -> int | None:
        """Process id of the server as its data directory states it; None when there is none."""
        lines = self._pid_file()
        return int(lines[0]) if lines else None

    def __enter__(self) -> EmbeddedServer:
        with self._named_failures(), self._alone():
            self._users = os.open(self._state / "users.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            try:
                self._bring_up()
            except BaseException:
                self._leave(self._users)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ensure_running(self) -> str:
        """Start the server again if it died; returns the dsn, which may have changed."""
        with self._named_failures(), self._alone():
            self._bring_up()
        return self.dsn

    def close(self) -> None:
        """Stop the server, within seconds, unless another process uses it. Further calls do nothing."""
        if self._users is not None:
            with self._named_failures(), self._alone():
                self._leave(self._users)

    def _leave(self, users: int) -> None:
        try:
            fcntl.flock(users, fcntl.LOCK_UN)
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._shut_down()
        except BlockingIOError:  # somebody else uses the server; the last one stops it
            if self._process is not None and self._process.poll() is None:
                self._process.returncode = 0  # and it is not this process's to wait for any more
        finally:
            os.close(users)
            self._users = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else starts or stops this server meanwhile, neither a process nor a thread."""
        self._state.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._state / "start.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _named_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"{self._state}: no space left for the embedded PostgreSQL; make room") from error
            raise DatabaseError(
                f"{error.filename or self._state}: {error.strerror or error}; the embedded PostgreSQL needs a data_dir "
                "that belongs to whoever runs mapgap"
            ) from error

    def _bring_up(self) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            answer = self._ask()
            if answer == "serving":
                return
            if answer == "dead" and self._launch(deadline):
                return
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(
                    f"{self._data}: a PostgreSQL server (process {self.pid}) holds this directory but does not answer; "
                    f"end it, then try again\n{self._log_tail()}"
                )
            time.sleep(0.1)

    def _ask(self) -> str:
        """"serving": it answers and is ours; "busy": a process of this directory that does not (yet) serve; "dead"."""
        if self._process is not None:
            self._process.poll()
        lines = self._pid_file()
        if not lines:
            return "dead"
        if len(lines) > 4 and lines[4]:
            socket_dir = self._state / "run" if lines[4].startswith("/proc/") else Path(lines[4])
            if self._serves(socket_dir):
                self._socket_dir = socket_dir
                return "serving"
        return "busy" if self._is_server(int(lines[0])) else "dead"

    def _serves(self, socket_dir: Path) -> bool:
        """Connect, and let the server read a mark set just now in this data directory: it may be that of a copy."""
        mark = random.randrange(10**9)
        try:
            connection = psycopg2.connect(self._dsn_at(socket_dir), connect_timeout=10)
        except psycopg2.OperationalError:
            return False
        try:
            os.utime(self._data / "PG_VERSION", (mark, mark))
            with connection, connection.cursor() as cursor:
                cursor.execute(query("server_mark"))
                return cursor.fetchone()[0] == mark
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            return False
        finally:
            connection.close()

    def _is_server(self, pid: int) -> bool:
        """Whether a process is a server of this data directory, which it has as its working directory."""
        try:
            if os.path.isdir("/proc/self"):
                try:
                    return os.path.samefile(f"/proc/{pid}/cwd", self._data)
                except PermissionError:  # root in a container may not look there, but may read how it was called
                    return os.fsencode(self._identity) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False
        return True

    def _pid_file(self) -> list[str]:
        """Lines of postmaster.pid: process, data directory, start time, port, socket directory, ...; [] without one."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line.strip() for line in lines] if lines and lines[0].strip().isdigit() else []

    def _launch(self, deadline: float) -> bool:
        """Start the server; False when it could not start yet but may soon (the last one's processes still leave)."""
        account = choose_account(self._data)
        binaries = find_binaries(account, self._state)
        with suppress(FileNotFoundError):
            if self._log.stat().st_size > _LOG_MOST:
                self._log.replace(self._log.with_suffix(".log.1"))
        # Root's data directory may lie below directories which the account cannot pass: it gets the open directory.
        state = os.open(self._state, os.O_RDONLY | os.O_DIRECTORY)
        kept = keep_from_cleaning(binaries.directory)
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            seen = Path(f"/proc/self/fd/{state}") if account and os.path.isdir("/proc/self/fd") else self._state
            options = {**process_options(account), "stdout": log, "stderr": log, "pass_fds": (state, kept)}
            if not self._data.exists():
                self._create(binaries, seen, options)
            binaries.check_made(self._data)
            self._socket_dir = make_socket_dir(self._state / "run", self._socket_dir)
            self._clear_traces()
            if account:
                account.own(self._socket_dir)
                if self._data.stat().st_uid == 0:
                    for path in (self._data, *self._data.rglob("*")):
                        account.own(path)
            start = os.fstat(log).st_size
            seen_socket = seen / "run" if self._socket_dir == self._state / "run" else self._socket_dir
            settings = {**self._settings, "unix_socket_directories": str(seen_socket)}
            command = [binaries.program("postgres"), "-D", str(seen / "data")]
            command += ["-c", self._identity]
            command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
            self._end_child()
            self._process = subprocess.Popen(command, start_new_session=True, **options)
        finally:
            for descriptor in (state, kept, log):
                os.close(descriptor)
        while self._process.poll() is None:
            if self._ask() == "serving":
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        said = self._log_tail(start)
        if "still in use" in said or "already exists" in said:
            return False
        raise self._failure(said, "did not start")

    def _create(self, binaries: Binaries, seen: Path, options: dict) -> None:
        """initdb into data.new, renamed when complete: a crash half-way leaves nothing that looks like a database."""
        account = choose_account(self._data)
        fresh = self._state / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        if account:
            account.own(fresh)
        command = [binaries.program("initdb"), "-D", str(seen / fresh.name), "-U", USER, "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C", *(["--no-sync"] if self._settings.get("fsync") == "off" else [])]
        answer = subprocess.run(command, **{**options, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT})
        if answer.returncode != 0:
            raise self._failure(answer.stdout.decode(errors="replace").strip(), "could not be created")
        fresh.rename(self._data)

    def _clear_traces(self) -> None:
        """What a killed server left must not stop the next: its socket, and a process id that is another's by now.

        The rest of postmaster.pid stays: by its shared memory key PostgreSQL notices processes of the dead server.
        """
        for name in (SOCKET_NAME, SOCKET_NAME + ".lock"):
            (self._socket_dir / name).unlink(missing_ok=True)
        path = self._data / "postmaster.pid"
        if path.exists():
            _, newline, rest = path.read_text().partition("\n")
            with path.open("r+") as file:
                file.write(f"{_NO_PID}{newline}{rest}")
                file.truncate()

    def _shut_down(self) -> None:
        pid = self.pid
        if pid is None or self._ask() == "dead":
            return self._end_child()
        for number, patience in ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 1.0)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)  # fast shutdown; immediate (recovers at the next start); the last resort
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if not self._is_server(pid):
                    self._end_child()
                    if self._socket_dir != self._state / "run":
                        shutil.rmtree(self._socket_dir, ignore_errors=True)
                    return
                time.sleep(0.02)

    def _end_child(self) -> None:
        """See off a server started here that is dead to this directory: killed, or its directory was moved away."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _log_tail(self, start: int = 0) -> str:
        """The last lines of the server's log from byte `start` on."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(start, os.fstat(file.fileno()).st_size - 8192))
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-12:])

    def _failure(self, said: str, what: str) -> MapgapError:
        """The named exception for what the server said; on a full disk it may have had no room to say anything."""
        room = os.statvfs(self._state)
        if FULL.search(said) or room.f_bavail * room.f_frsize < 1024**2:
            return StorageFull(f"{self._state}: the embedded PostgreSQL {what}: no space left; make room\n{said}")
        return DatabaseUnavailable(f"{self._state}: the embedded PostgreSQL {what}; {self._log} says:\n{said}")
