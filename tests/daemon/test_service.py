"""The systemd unit is what systemd accepts, and confines what it should."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon.config import Config, render
from daemon.errors import ConfigError, MapgapError
from daemon.service import ACCOUNT, UNIT, install, uninstall


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    path = tmp_path / "my config $1 50%" / "config.toml"
    path.parent.mkdir()
    path.write_text(render(Config()))
    return path


def read_unit(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    return unit


def test_it_is_a_confined_notifying_watched_service(tmp_path: Path, config_path: Path) -> None:
    message = install(config_path, tmp_path / "root")
    service = read_unit(tmp_path / "root" / UNIT)["Service"]
    wanted = {
        "Type": "notify", "User": "mapgap", "Restart": "on-failure", "KillMode": "mixed", "NoNewPrivileges": "yes",
        "ProtectSystem": "strict", "PrivateTmp": "yes", "MemoryDenyWriteExecute": "no", "CapabilityBoundingSet": "",
    }
    assert wanted.items() <= dict(service).items()
    assert int(service["WatchdogSec"]) > 0
    data_dir = str(config_path.parent / "mapgap-data")
    assert service["ReadWritePaths"] == '"' + data_dir.replace("%", "%%") + '"'
    escaped = str(config_path).replace("%", "%%").replace("$", "$$")
    assert service["ExecStart"].endswith(f' run --config "{escaped}"')
    assert (tmp_path / "root" / ACCOUNT).read_text().startswith("u mapgap - ")
    assert "systemctl enable --now mapgap" in message


def test_systemd_finds_nothing_to_complain_about(tmp_path: Path, config_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    install(config_path, tmp_path / "root")
    answer = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "root" / UNIT)], capture_output=True, text=True
    )
    about_it = [line for line in answer.stderr.splitlines() if "mapgap" in line]
    assert (answer.returncode, about_it) == (0, [])


def test_publish_directory_is_writable_too(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('data_dir = "/var/lib/mapgap"\n[publish]\ndir = "/srv/feed"\n')
    install(path, tmp_path / "root")
    service = read_unit(tmp_path / "root" / UNIT)["Service"]
    assert service["ReadWritePaths"] == "/var/lib/mapgap /srv/feed"
    assert service["ExecStartPre"].endswith("-m 0750 /var/lib/mapgap /srv/feed")


def test_enabling_and_removing_leaves_nothing_behind(tmp_path: Path, config_path: Path) -> None:
    if shutil.which("systemctl") is None:
        pytest.skip("systemctl is not installed")
    root = tmp_path / "root"
    install(config_path, root, enable=True)
    install(config_path, root, enable=True)
    link = root / "etc/systemd/system/multi-user.target.wants/mapgap.service"
    assert link.is_symlink()
    assert "removed" in uninstall(root)
    assert [p for p in root.rglob("*") if "mapgap" in p.name] == []
    assert config_path.exists()
    assert "nothing to remove" in uninstall(root)


def test_a_wrong_configuration_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("data_dirr = 1\n")
    with pytest.raises(ConfigError, match="data_dirr"):
        install(tmp_path / "config.toml", tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_a_place_that_cannot_be_written_is_a_named_failure(tmp_path: Path, config_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/etc").write_text("a file")
    with pytest.raises(MapgapError, match="needs root"):
        install(config_path, tmp_path / "root")
