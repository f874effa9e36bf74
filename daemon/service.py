"""The systemd service: `mapgap service install | uninstall`.

The unit is written for the machine it is installed on: this interpreter, this configuration, its directories.
Options as in systemd.service(5) and systemd.exec(5); the account as in sysusers.d(5).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from daemon.config import Config, load
from daemon.errors import MapgapError

UNIT = Path("etc/systemd/system/mapgap.service")
ACCOUNT = Path("etc/sysusers.d/mapgap.conf")
USER = "mapgap"
#: Secrets such as the database password may be given here as NAME=value; systemd reads it as root.
ENVIRONMENT = "/etc/mapgap/environment"


def unit_text(config: Config, config_path: Path) -> str:
    """The unit for one configuration."""
    config_path = config_path.resolve()
    writable = [config.data_dir, *([config.publish.dir] if config.publish.dir else [])]
    paths = [config_path, Path(sys.prefix), Path(sys.base_prefix), *writable]
    homes = any(path.is_relative_to(home) for path in paths for home in ("/home", "/root", "/run/user"))
    made = " ".join(_quoted(path, command=True) for path in writable)
    return f"""\
# Written by `mapgap service install`; local changes belong into `systemctl edit mapgap`.
[Unit]
Description=mapgap: follows OpenStreetMap and finds where map and ground disagree
Documentation=man:systemd.service(5)
After=network-online.target postgresql.service
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
User={USER}
Group={USER}
EnvironmentFile=-{ENVIRONMENT}
{_environment()}ExecStartPre=+/usr/bin/install -d -o {USER} -g {USER} -m 0750 {made}
ExecStart={_command()} run --config {_quoted(config_path, command=True)}
# The program alone is told to stop; it stops its embedded PostgreSQL itself, in order.
KillMode=mixed
TimeoutStopSec=30
# Crash recovery of the database and migrations take as long as they take.
TimeoutStartSec=infinity
WatchdogSec=120
Restart=on-failure
RestartSec=10
# 2: the configuration is wrong, starting again will not help.
RestartPreventExitStatus=2

NoNewPrivileges=yes
# None at all: a web.port below 1024 cannot be listened on; let a proxy do so.
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths={" ".join(map(_quoted, writable))}
# Programs, configuration or data below a home: it stays visible, but read-only.
ProtectHome={"read-only" if homes else "yes"}
PrivateTmp=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=no
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0027
# Must stay off: the networks' engines translate them to machine code at run time.
MemoryDenyWriteExecute=no
# Must stay off: GPUs are devices.
PrivateDevices=no

[Install]
WantedBy=multi-user.target
"""


def account_text(config: Config) -> str:
    """The unprivileged account, for systemd-sysusers."""
    return f'u {USER} - "mapgap daemon" {_quoted(config.data_dir)}\n'


def install(config_path: Path, root: Path = Path("/"), *, enable: bool = False) -> str:
    """Write unit and account below `root`; returns what to do next. Writing again replaces them.

    Args:
        config_path: the configuration that the service runs with.
        root: the file system it is for; anything but / is an image or a test.
        enable: also let it start at boot.

    Raises:
        ConfigError: the configuration is wrong.
        MapgapError: not allowed to write there, or systemctl failed.
    """
    config = load(config_path)
    try:
        for path, text in ((root / UNIT, unit_text(config, config_path)), (root / ACCOUNT, account_text(config))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    except OSError as error:
        raise MapgapError(f"{error.filename}: {error.strerror}; installing the service needs root") from error
    if enable:
        _systemctl(root, "enable", UNIT.name)
    return (
        f"{root / UNIT} and {root / ACCOUNT} written. Next:\n"
        "  systemd-sysusers && systemctl daemon-reload\n"
        f"  chown -R {USER}: {_quoted(config.data_dir)}    # where it exists already\n"
        f"  systemctl {'start' if enable else 'enable --now'} mapgap\n"
        f"  systemctl status mapgap; journalctl -fu mapgap"
    )


def uninstall(root: Path = Path("/")) -> str:
    """Remove what `install` wrote; data, configuration and account stay. Returns what was done.

    Raises:
        MapgapError: not allowed to.
    """
    if not (root / UNIT).exists():
        return f"{root / UNIT} does not exist; nothing to remove"
    _systemctl(root, "disable", *(["--now"] if root == Path("/") else []), UNIT.name)
    try:
        for path in (UNIT, ACCOUNT):
            (root / path).unlink(missing_ok=True)
    except OSError as error:
        raise MapgapError(f"{error.filename}: {error.strerror}; removing the service needs root") from error
    return f"{root / UNIT} removed; data, configuration and the account {USER} stay. Next: systemctl daemon-reload"


def _systemctl(root: Path, *words: str) -> None:
    command = ["systemctl", *([] if root == Path("/") else [f"--root={root}"]), *words]
    try:
        answer = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise MapgapError("systemctl is not installed; this machine does not run systemd") from None
    if answer.returncode != 0:
        raise MapgapError(f"{' '.join(command)}: {answer.stderr.strip()}")


def _command() -> str:
    """How to start this very program: the installed command, or the interpreter with the package."""
    command = Path(sys.prefix) / "bin" / "mapgap"
    if command.exists():
        return _quoted(command, command=True)
    return f"{_quoted(Path(sys.executable), command=True)} -m daemon"


def _environment() -> str:
    """A checkout that is not installed must be found by the interpreter."""
    if (Path(sys.prefix) / "bin" / "mapgap").exists():
        return ""
    return f"Environment={_quoted('PYTHONPATH=' + str(Path(__file__).resolve().parent.parent))}\n"


def _quoted(word: Path | str, *, command: bool = False) -> str:
    """A word as systemd reads it: specifiers, blanks and (in commands) variables stand for themselves."""
    text = str(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if command:
        text = text.replace("$", "$$")
    return f'"{text}"' if text != str(word) or not text.isprintable() or set(text) & set(" \t;'") else text
