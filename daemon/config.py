"""config.toml -> one frozen, validated object.

Every knob is declared once, in `sections`, with its unit, default and meaning; `render` writes the commented file from
these declarations, so the example at the root of the repository, `mapgap init` and the program cannot drift apart.

Secrets never stand in the file: a key that ends in `_env` names an environment variable, a key that ends in `_file`
names a file that only its owner may read (mode 0600).
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon.config_text import render
from daemon.errors import ConfigError
from daemon.sections import (
    Area,
    Bbox,
    Client,
    Config,
    Database,
    Detectors,
    Imagery,
    Log,
    MapRoulette,
    Mosaic,
    Osm,
    Osmose,
    Publish,
    Replication,
    Reviews,
    Schedule,
    Section,
    Tiling,
    Web,
    permission_problems_of,
    server_of,
)

__all__ = [
    "DEFAULT_CONFIG",
    "Area",
    "Bbox",
    "Client",
    "Config",
    "Database",
    "Detectors",
    "Imagery",
    "Log",
    "MapRoulette",
    "Mosaic",
    "Osm",
    "Osmose",
    "Publish",
    "Replication",
    "Reviews",
    "Schedule",
    "Section",
    "Tiling",
    "Web",
    "api_key",
    "load",
    "parse",
    "password",
    "read_secret",
    "render",
    "secret",
    "server_of",
    "with_web",
]

#: Name looked for in the current directory when the command line names no file.
DEFAULT_CONFIG = Path("config.toml")


def load(path: Path | str = DEFAULT_CONFIG) -> Config:
    """Read and validate a file.

    Raises:
        ConfigError: with every problem at once, each as "key: value; what is expected".
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(str(path), ["no such file; `mapgap init --bbox W,S,E,N` writes one"]) from None
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), [f"not valid TOML: {error}"]) from None
    return parse(values, str(path), path.resolve().parent)


def parse(values: dict[str, Any], source: str, base: Path) -> Config:
    """Validate values as TOML gives them; relative paths are taken from `base`.

    Raises:
        ConfigError: as for `load`.
    """
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        given = values.get("imagery")
        sources = [entry if isinstance(entry, dict) else {} for entry in given] if isinstance(given, list) else []
        problems = [*map(_problem, error.errors()), *permission_problems_of(sources)]
        raise ConfigError(source, problems) from None
    problems = config.permission_problems()
    if problems:
        raise ConfigError(source, problems)
    try:
        replication = config.replication
        return config.model_copy(
            update={
                "data_dir": _below(base, config.data_dir),
                "replication": replication.model_copy(
                    update={"cookie_file": _below(base, replication.cookie_file)}
                ),
                "area": config.area.model_copy(update={"polygon": _below(base, config.area.polygon)}),
                "database": config.database.model_copy(
                    update={"password_file": _below(base, config.database.password_file)}
                ),
                "osm": config.osm.model_copy(update={"password_file": _below(base, config.osm.password_file)}),
                "maproulette": config.maproulette.model_copy(
                    update={"api_key_file": _below(base, config.maproulette.api_key_file)}
                ),
                "osmose": config.osmose.model_copy(update={"code_file": _below(base, config.osmose.code_file)}),
                "web": config.web.model_copy(update={"token_file": _below(base, config.web.token_file)}),
                "publish": config.publish.model_copy(update={"dir": _below(base, config.publish.dir)}),
                "imagery": tuple(s.model_copy(update={"url": _local_url(base, s.url)}) for s in config.imagery),
            }
        )
    except RuntimeError as error:  # a path below ~somebody who has no home
        raise ConfigError(source, [f"a path begins with ~: {error}"]) from None


def with_web(config: Config, *, host: str | None, port: int | None) -> Config:
    """The same, but serving elsewhere; None: as configured.

    Raises:
        ConfigError: not there without a token.
    """
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        web = Web.model_validate({**config.web.model_dump(), **given})
    except ValidationError as error:
        raise ConfigError("web", [_problem(one) for one in error.errors()]) from None
    return config.model_copy(update={"web": web})


def password(knobs: Database | Osm, section: str = "database") -> str | None:
    """A database's password from the environment or the file named for it, None where neither is.

    Args:
        knobs: the section that names it.
        section: its name, for messages.

    Raises:
        ConfigError: the variable is unset, or the file is missing or readable by others.
    """
    return secret(knobs.password_env, knobs.password_file, f"{section}.password")


def api_key(knobs: MapRoulette) -> str:
    """MapRoulette's API key from the environment or the file named for it.

    Raises:
        ConfigError: neither is named, the variable is unset or empty, or the file is missing or readable by others.
    """
    key = secret(knobs.api_key_env, knobs.api_key_file, "maproulette.api_key")
    if not key:
        raise ConfigError("maproulette.api_key_env", ["no API key; it stands in your profile on MapRoulette"])
    return key


def secret(variable: str, path: Path | None, key: str) -> str | None:
    """A secret from an environment variable or a file, None where neither is named.

    Args:
        key: what the knobs that name them begin with, for messages: <key>_env, <key>_file.

    Raises:
        ConfigError: the variable is unset, or the file is missing or readable by others.
    """
    if variable:
        value = os.environ.get(variable)
        if value is None:
            raise ConfigError(f"{key}_env", [f"environment variable {variable} is not set"])
        return value
    if path:
        return read_secret(path, f"{key}_file").strip()
    return None


def read_secret(path: Path, key: str) -> str:
    """The content of a file that only its owner may read.

    Args:
        path: the file.
        key: the knob that names it, for messages.

    Raises:
        ConfigError: the file is missing, readable by others, or no text.
    """
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(key, [f"{path} is readable by others (mode {stat.S_IMODE(mode):04o}); chmod 600 it"])
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(key, [f"cannot be read: {error}"]) from None


def _problem(error: Any) -> str:
    key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error["loc"]).lstrip(".") or "file"
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"{key}: unknown key; see the example config.toml for the keys there are"
    if kind == "missing":
        return f"{key}: required but not given"
    message = error["msg"].removeprefix("Value error, ")
    if kind == "value_error" and isinstance(error["input"], dict):
        return f"{key}: {message}"
    shown = re.sub(r"(?<=://)[^/@\s]+@", "***@", repr(error["input"]))
    return f"{key}: {shown if len(shown) <= 80 else shown[:77] + '...'}; {message[0].lower()}{message[1:]}"


def _below(base: Path, path: Path | None) -> Path | None:
    return None if path is None else base / path.expanduser()


def _local_url(base: Path, url: str) -> str:
    """A path stays a path, made absolute; a URL stays as it is."""
    return url if "://" in url else str(base / Path(url).expanduser())
