"""Commands for training data, `mapgap dataset ...`: what a data set holds, making one, and finding its doubtful labels.

Every command that opens a data set takes the same options: `data_set_options` adds them, `read_data_set` turns them
into places.
"""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from pydantic import ValidationError

from daemon.cli import CONFIG, Bbox, load_config, main, progress_bar
from daemon.config import Log
from daemon.log import set_up_log
from daemon.signals import stop_on_signals
from daemon.workbench import DIRECTORY, FILE
from detectors.errors import DatasetInvalid

if TYPE_CHECKING:
    import numpy as np

    from daemon.osm import AreaOfInterest
    from detectors.datasets import Place, Source

Command = TypeVar("Command", bound=Callable[..., Any])

OUT_FILE = click.Path(path_type=Path, dir_okay=False)
#: What a data set is said to be where nobody said.
UNSAID = "not stated"


class Area(Bbox):
    """W,S,E,N in degrees, or a polygon file; a function from margin in metres to the area."""

    name = "W,S,E,N|FILE"
    Value = Callable[[float], "AreaOfInterest"]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Area.Value:
        from daemon.osm import AreaOfInterest

        path = Path(value)
        if path.is_file():
            return lambda margin: AreaOfInterest.from_file(path, margin)
        bbox = super().convert(value, param, ctx)
        return lambda margin: AreaOfInterest.from_bbox(bbox, margin)


def data_set_options(command: Command) -> Command:
    """Add the argument DIRECTORY and the options that say how it is read; they arrive as `directory` and `options`."""
    return click.argument("directory", type=DIRECTORY)(reading_options(command))


def reading_options(command: Command) -> Command:
    """Add the options that say how a data set is read; they arrive as `source_path` and those of `source_of`."""
    options = (
        click.option("--reader", help="Format of the data set; see `mapgap dataset readers`.  [default: tiles]"),
        click.option("--zoom", type=int, help="For tiles: which."),
        click.option("--bands", type=int, help="How many bands are taken, the first ones.  [default: 3]"),
        click.option(
            "--source", "source_path", type=FILE, metavar="TOML",
            help="A file with the keys of a [[sources]] entry, or with such entries: the one whose path is DIRECTORY's "
                 "name, or the only one, is taken. Options go over it.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def source_of(directory: Path, source_path: Path | None, **given: Any) -> Source:
    """The source that the options of `data_set_options` describe; options that are None were not given.

    Raises:
        DatasetInvalid: the file is unreadable or a key is wrong.
    """
    from detectors.datasets import Source

    keys: dict[str, Any] = dict.fromkeys(("imagery", "imagery_licence", "labels", "labels_licence"), UNSAID)
    keys |= {"use": "test"} | _stated(directory, source_path) | {k: v for k, v in given.items() if v is not None}
    try:
        return Source.model_validate(keys | {"path": "."})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DatasetInvalid(f"{source_path or directory}: {problems}") from error


def read_data_set(directory: Path, source_path: Path | None, **given: Any) -> Sequence[Place]:
    """The places of DIRECTORY, read as the options say.

    Raises:
        DatasetInvalid: as `detectors.datasets.read_source` says.
    """
    from detectors.datasets import read_source

    return read_source(directory, source_of(directory, source_path, **given))


def _stated(directory: Path, path: Path | None) -> Mapping[str, Any]:
    """The keys of the entry of a TOML file that is meant."""
    if path is None:
        beside = directory / "source.toml"
        if not beside.is_file():
            return {}
        path = beside
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DatasetInvalid(f"{path}: not readable as TOML: {error}") from error
    entries = table.get("sources")
    if not isinstance(entries, list):
        return table
    meant = [e for e in entries if Path(str(e.get("path", ""))).name == directory.resolve().name] or entries
    if len(meant) != 1:
        raise DatasetInvalid(f"{path}: {len(meant)} sources could be {directory.name}; give a file with one")
    return meant[0]


@main.group()
def dataset() -> None:
    """Training data: make it, look at it, pack it, and find the labels that deserve a second look."""


@dataset.command()
def readers() -> None:
    """The formats that data sets may come in."""
    from detectors.datasets import READERS

    for name, reader in READERS.items():
        said = (reader.__doc__ or "").strip().splitlines()
        click.echo(f"{name:15} {said[0] if said else ''}".rstrip())


@dataset.command()
@data_set_options
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, on standard output.")
@click.option("--picture", type=OUT_FILE, help="Also draw the shares as a PNG.")
def report(directory: Path, source_path: Path | None, as_json: bool, picture: Path | None, **given: Any) -> None:
    """What DIRECTORY holds: places, resolution, share of each class and of no data, licences."""
    from detectors.datasets.balance import describe, draw, measure

    set_up_log(Log(level="warning"))
    places = read_data_set(directory, source_path, **given)
    with progress_bar("counting") as advance:
        balance = measure(places, lambda done: advance(done, len(places)))
    name = directory.resolve().name
    if picture:
        _write_png(picture, draw({name: balance}))
    click.echo(json.dumps(balance.record(), indent=1, ensure_ascii=False) if as_json else describe({name: balance}))


@dataset.command()
@click.argument("bundle")
@data_set_options
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True,
    help="Directory for doubts.csv, doubts.geojson and doubts.png.",
)
@click.option("--side", type=click.IntRange(16, 4096), default=256, show_default=True, help="Pixels of a sample.")
@click.option("--most", type=click.IntRange(1, 1000), default=50, show_default=True, help="Samples listed.")
@click.option("--engine", default="auto", show_default=True, help="What runs the network.")
def doubts(bundle: str, directory: Path, source_path: Path | None, out: Path, side: int, most: int, engine: str,
           **given: Any) -> None:
    """List the samples of DIRECTORY on which BUNDLE disagrees most with the labels, for a person to look at.

    Either may be wrong. The picture shows imagery, labels and the network's answer side by side.
    """
    from daemon.datasets.files import write_whole
    from detectors.evaluation.doubts import draw_sheet, find_doubts, to_csv, to_geojson
    from detectors.segmentation import Bundle, open_engine

    set_up_log(Log(level="warning"))
    places = read_data_set(directory, source_path, **given)
    loaded = Bundle.load(bundle)
    with progress_bar("looking") as advance:
        found = find_doubts(loaded, open_engine(loaded, engine), places, side=side, most=most,
                            each=lambda done: advance(done, len(places)))
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "doubts.csv", to_csv(found).encode())
    write_whole(out / "doubts.geojson", to_geojson(found).encode())
    _write_png(out / "doubts.png", draw_sheet(found))
    click.echo(f"{len(found)} samples in {out}/doubts.csv, doubts.geojson, doubts.png")


@dataset.command()
@click.argument("directories", nargs=-1, required=True, type=DIRECTORY, metavar="DIRECTORY...")
@reading_options
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new directory.")
@click.option("--side", type=click.IntRange(16, 8192), default=512, show_default=True,
              help="Records are so many pixels wide and high at most; better larger than the crops of a training.")
@click.option("--coding", type=click.Choice(["raw", "deflate"]), default="raw", show_default=True,
              help="raw is the quickest to read, deflate a third smaller; neither loses anything.")
@click.option("--shard-mb", type=click.IntRange(1, 100_000), default=256, show_default=True,
              help="Size of a .rec file.")
def pack(directories: Sequence[Path], source_path: Path | None, out: Path, side: int, coding: Literal["raw", "deflate"],
         shard_mb: int, **given: Any) -> None:
    """Write data sets as RecordIO, which MXNet reads, too: sharded .rec and .idx files with a manifest.

    All must have the same classes, bands and type of pixels. A record holds imagery, labels, position, and whose both
    are; a training reads OUT with reader = "records".
    """
    from detectors.datasets.packing import pack_places

    set_up_log(Log(level="warning"))
    sets = [read_data_set(directory, source_path, **given) for directory in directories]
    total, done = sum(map(len, sets)), 0
    with progress_bar("packing") as advance:

        def counted() -> Iterator[Place]:
            nonlocal done
            for place in chain.from_iterable(sets):
                yield place
                done += 1
                advance(done, total)

        manifest = pack_places(counted(), out, side=side, shard_mb=shard_mb, coding=coding)
    size = sum(shard["bytes"] for shard in manifest["shards"])
    click.echo(f"{manifest['records']} records of {len(manifest['places'])} places, {size / 1e6:.1f} MB in "
               f"{len(manifest['shards'])} shards: {out}/manifest.json")


@dataset.command()
@CONFIG
@click.option("--area", type=Area(), help="Degrees, or a .poly or GeoJSON file; default: that of the configuration.")
@click.option("--imagery", required=True, metavar="NAME", help="A source of imagery of the configuration.")
@click.option("--zoom", type=click.IntRange(10, 22), help="Of the tiles; default: tiling.zoom.")
@click.option("--detector", "labels", type=click.Choice(["building", "road", "landcover"]), default="building",
              show_default=True, help="What the labels are made of.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where the data set goes.")
@click.option("--osm", "extract", type=FILE, help="Take the map from this OSM file, not from the configured store. "
              "Labels of roads and land cover need it, unless the store is one of osm2pgsql.")
@click.option("--block", "side", type=click.IntRange(1, 32), default=8, show_default=True,
              help="Tiles along a side of the blocks that fall to training or test as a whole.")
@click.option("--test", "share", type=click.FloatRange(0, 0.9), default=0.2, show_default=True,
              help="Share of the test.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which blocks fall to the test.")
def build(config_path: Path, area: Area.Value | None, imagery: str, zoom: int | None, labels: str, out: Path,
          extract: Path | None, side: int, share: float, seed: int) -> None:
    """Make a data set of an area: imagery of one source, labels from the map, split by blocks.

    Blocks fall to the training or the test by their position; tiles of the training that touch a test block are left
    out. Killed or stopped, the same command goes on where it was. OUT/sources.toml says how a training reads it.
    """
    from daemon.datasets.build import Order, labelled_store
    from daemon.datasets.build import build as build_data_set
    from daemon.errors import ConfigError
    from daemon.osm import AreaOfInterest

    config = load_config(config_path)
    wanted = AreaOfInterest.of(config.area) if area is None else area(config.area.margin)
    if wanted is None:
        raise ConfigError("--area", ["the configuration names no area; give one: --area W,S,E,N"])
    order = Order(wanted, imagery, labels, zoom or config.tiling.zoom, side, seed, share)
    stop = threading.Event()
    with (
        stop_on_signals(stop),
        labelled_store(config, labels, wanted, extract) as (store, db),
        progress_bar("building") as advance,
    ):
        built = build_data_set(config, order, out, store, db, advance, stop.is_set)
    if built is None:
        click.echo(f"stopped; the same command goes on with {out}", err=True)
        raise SystemExit(1)
    click.echo(built.text(), nl=False)
    click.echo(f"{out}/sources.toml says how to read it; the same report is in {out}/report.txt and report.png")


def _write_png(path: Path, image: np.ndarray) -> None:
    """uint8 RGB [H, W, 3] -> file."""
    import cv2

    from daemon.datasets.files import write_whole

    ok, png = cv2.imencode(".png", image[..., ::-1])
    assert ok, "OpenCV encodes every 8-bit image of three bands"
    write_whole(path, png.tobytes())
