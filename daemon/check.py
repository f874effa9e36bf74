"""`mapgap check`: is everything that the configuration names usable, before a daemon is left alone with it?"""

from __future__ import annotations

import errno
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from daemon.config import Config
from daemon.db import open_database
from daemon.errors import ConfigError, ImageryError, MapgapError, NameTaken, PublishError, StorageFull
from daemon.eyes import NetworkEye, open_eyes
from daemon.fetch import shown
from daemon.imagery import Imagery
from daemon.imagery.dates import teller_of
from daemon.osm import AreaOfInterest, Origin, Osm2pgsqlStore, OsmStore
from daemon.publish.maproulette.client import Client
from daemon.publish.osmose.channel import open_frontend
from daemon.replication import ReplicationSource
from daemon.tiling.grid import ground_sample_distance
from daemon.web.backend import read_token
from daemon.web.server import listen
from detectors.errors import BundleMismatch, ModelError
from detectors.registry import registry
from detectors.segmentation.stitching import zoom_for

#: Less free space than this is worth a warning, bytes.
SCARCE = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked; `error` is None where it is well."""

    what: str
    message: str
    error: Exception | None = None


def check(config: Config, extract: Path | None = None) -> Iterator[Finding]:
    """Check one thing after another; a failure of one does not keep the others from being checked.

    Args:
        extract: an OSM file; says where following would begin after a bootstrap from it.
    """
    parts: tuple[tuple[str, Callable[[Config], str]], ...] = (
        ("area", _area),
        ("data directory", _data_dir),
        ("publish directory", _publish_dir),
        ("database", _database),
        ("replication", _replication),
        *([("extract", partial(_extract, extract))] if extract else []),
        *([("osm2pgsql", _osm2pgsql)] if config.osm.source == "osm2pgsql" else []),
        *([("osmose", _osmose)] if config.osmose.url else []),
        ("imagery", _imagery),
        ("model", _model),
        *([("MapRoulette", _maproulette)] if config.maproulette.enabled else []),
        ("web", _web),
    )
    for what, part in parts:
        try:
            yield Finding(what, part(config))
        except (MapgapError, ModelError, OSError) as error:
            yield Finding(what, str(error), error)


def _area(config: Config) -> str:
    area = AreaOfInterest.of(config.area)
    if area is None:
        return "no bbox and no polygon: all that the bootstrapped file holds"
    west, south, east, north = area.bounds
    return f"{config.area.name}: {west:.4f},{south:.4f},{east:.4f},{north:.4f}"


def _data_dir(config: Config) -> str:
    free = _writable(config.data_dir, "data_dir")
    scarce = "; that is scarce, see client.cache" if free < SCARCE else ""
    return f"{config.data_dir}: writable, {free / 1024**3:.1f} GiB free{scarce}"


def _publish_dir(config: Config) -> str:
    if config.publish.dir is None:
        return "publish.dir is not set: nothing is written"
    _writable(config.publish.dir, "publish.dir")
    return f"{config.publish.dir}: writable" + ("; dry_run: nothing will be written" if config.publish.dry_run else "")


def _database(config: Config) -> str:
    with open_database(config) as db, db.transaction() as cursor:
        store = OsmStore(AreaOfInterest.of(config.area), lambda tags: False)
        position = store.position(cursor)
        kind = "reachable" if config.database.dsn else "embedded server runs"
        if position is None:
            file = "" if config.osm.source == "osm2pgsql" else " FILE.osm.pbf"
            return f"{kind}, schema up to date; the store is empty: `mapgap bootstrap{file}` comes next"
        when = f"{position.timestamp:%Y-%m-%d %H:%M} UTC" if position.timestamp else "an unknown time"
        return f"{kind}, schema up to date; the store stands at sequence {position.sequence}, {when}"


def _replication(config: Config) -> str:
    return "; ".join(_newest(config, url) for url in (config.replication.url, *config.replication.coarse))


def _newest(config: Config, url: str) -> str:
    with ReplicationSource.open(config, url=url) as source:
        newest = source.newest()
        every = source.interval(newest).total_seconds()
    rhythm = f", a file every {every:.0f} s" if every else ""
    return f"{shown(url)}: newest is sequence {newest.sequence} of {newest.timestamp:%Y-%m-%d %H:%M} UTC{rhythm}"


def _extract(path: Path, config: Config) -> str:
    origin = Origin.read(path)
    when = f"{origin.timestamp:%Y-%m-%d %H:%M} UTC" if origin.timestamp else "a time that its header does not say"
    return f"{path}: data of {when}; {origin.describe_start(config.replication.url)}"


def _osm2pgsql(config: Config) -> str:
    with closing(Osm2pgsqlStore(config, None, lambda tags: False)) as store:
        return store.describe()


def _osmose(config: Config) -> str:
    knobs = config.osmose
    has_code = bool(knobs.code_env or knobs.code_file)
    with open_frontend(config, threading.Event(), with_code=has_code) as frontend:
        status = frontend.status(config.osmose_country)
    last = f"last took something of it {status.timestamp:%Y-%m-%d %H:%M} UTC" if status else "never took anything of it"
    mode = "enabled" if knobs.enabled else "not enabled"
    notes = [
        *(["no code is named: nothing can be sent"] if not has_code else []),
        *(["dry_run: nothing will be sent"] if knobs.dry_run else []),
        *(["the code goes unencrypted"] if has_code and knobs.url.startswith("http:") else []),
    ]
    place = f"analyser {knobs.analyser}, country {config.osmose_country}"
    return "; ".join([f"{mode}; {shown(knobs.url)}, {place}: the frontend answers, and {last}", *notes])


def _imagery(config: Config) -> str:
    if not config.imagery:
        raise ImageryError("no [[imagery]] source is configured; nothing can be looked at")
    with Imagery.open(config) as imagery:
        problems = imagery.check()
    if problems:
        raise ImageryError("; ".join(problems))
    undated = [s.name for s in imagery.settings if s.acquired is None and not teller_of(s)]
    note = (
        f"; no date for {', '.join(undated)}: no 'gone' or 'misplaced' claims from there (see acquired)"
        if undated and config.detectors.unknown_date == "trust_osm"
        else ""
    )
    asked = "a tile read from each" if config.area.bbox else "each opened; servers are tried only in an area.bbox"
    return f"{len(config.imagery)} source(s), licence, attribution and permission stated, {asked}{note}"


def _maproulette(config: Config) -> str:
    knobs = config.maproulette
    with ExitStack() as resources:
        client = Client.open(knobs, config.client.contact, threading.Event(), resources)
        user, project = client.whoami(), client.project_named(knobs.project)
    if project is not None and project.deleted:
        raise NameTaken(
            f"project {knobs.project!r} was deleted, and keeps its name; set maproulette.project to another"
        )
    there = "is there" if project is not None else "will be made"
    rehearsal = "; dry_run: nothing will be sent" if knobs.dry_run else ""
    return f"{knobs.url}: the key is {user.name}'s, project {knobs.project!r} {there}{rehearsal}"


def _model(config: Config) -> str:
    eyes = open_eyes(config, cache=None)
    if not eyes:
        hint = "set detectors.building.enabled = true"
        raise ConfigError("detectors", [f"no detector is enabled, nothing can be found; {hint}"])
    area = AreaOfInterest.of(config.area)
    for eye in (eye for eye in eyes if isinstance(eye, NetworkEye)):
        _require_bands(eye, config)
        low, high = eye.bundle.card.gsd_range_m
        if area is not None:
            _, south, _, north = area.bounds
            gsd = ground_sample_distance(config.tiling.zoom, (south + north) / 2)
            if not low <= gsd <= high:
                better = zoom_for(eye.bundle.card, ground_sample_distance(0, (south + north) / 2))
                advice = "use a model trained at this resolution" if better is None else f"set tiling.zoom = {better}"
                raise BundleMismatch(
                    f"tiling.zoom {config.tiling.zoom} shows {gsd:.2f} m a pixel there; {eye.bundle.identity} was made "
                    f"for {low} to {high} m: {advice}"
                )
    told = [
        f"{eye.detector.name}: {eye.identity}" + (f" on {eye.engine.name}" if isinstance(eye, NetworkEye) else "")
        for eye in eyes
    ]
    return ", ".join([*told, *(f"plug-in {name} cannot be used: {why}" for name, why in registry().broken.items())])


def _web(config: Config) -> str:
    token = read_token(config.web)
    with closing(listen(config.web)) as listener:
        host, port = listener.getsockname()[:2]
    who = "`mapgap run`, or `mapgap serve`," if config.web.enabled else "`mapgap serve`"
    given = "no token: verdicts come by Osmose's API alone"
    if token is not None:
        given = "reviews need the token" if config.web.open_verdicts else "verdicts need the token"
    return f"{who} can listen on {host}, port {port}; {given}"


def _require_bands(eye: NetworkEye, config: Config) -> None:
    """Raises: BundleMismatch: the imagery gives other bands than the model takes."""
    if not config.imagery:
        return
    card, source, name = eye.bundle.card, config.imagery[0], eye.detector.name
    gives, depth = len(source.bands), source.depth
    beyond = max(eye.bands, default=0)
    if beyond > gives:
        raise BundleMismatch(f"detectors.{name}.bands asks for band {beyond}, imagery gives {gives}")
    given = len(eye.bands) or gives
    if given % card.bands or card.dtype != f"uint{depth}":
        raise BundleMismatch(
            f"detectors.{name}: model {eye.bundle.identity} takes {card.bands} bands of {card.dtype}, it is given "
            f"{given} of uint{depth}; set bands, depth and stretch of [[imagery]], or "
            f"detectors.{name}.bands, or use a model trained on such imagery"
        )


def _writable(directory: Path, key: str) -> int:
    """Prove that a file can be written; returns the free bytes.

    Raises:
        PublishError, StorageFull: it cannot.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(b"mapgap")
        return shutil.disk_usage(directory).free
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"{key} {directory}: no space left on device; make room there") from None
        raise PublishError(
            f"{key} {directory}: cannot be written ({error.strerror}); let this user write there, or name another"
        ) from None
