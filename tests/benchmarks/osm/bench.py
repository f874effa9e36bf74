"""What the OSM benchmarks share: world, change files and loaded stores, each made once, when first needed."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import osmium
import psycopg2
from jobs import run_job
from minutes import PLANET_MINUTE, Minutes, Mix, measure_mix
from peer import Osm2pgsql, Run
from postgres import Cluster
from world import World

#: How often the extract is repeated: for the store of 2 million ways, and for the smaller ones beside it.
LARGE = int(os.environ.get("MAPGAP_BENCH_COPIES", "62"))
MIDDLE, SMALL = LARGE // 3, 2
#: Sizes of change files, in objects.
SIZES = {
    "planet": PLANET_MINUTE,
    "diff": {"node": 1200, "way": 250, "relation": 8},
    "small": {"node": 240, "way": 57, "relation": 3},
    "tiny": {"node": 24, "way": 6, "relation": 0},
}
#: What is made for a world, by its copies. A single copy soon has nothing left that was not edited yet.
SERIES = {"planet": 12, "small": 15, "tiny": 30}
SERIES_OF_ONE = {"diff": 6}
#: What is kept in a store: what the building detector asks for; all that osm2pgsql keeps.
SELECTIONS = ("building", "everything")


@dataclass
class Loaded:
    """A database that holds an extract.

    Attributes:
        dsn: of the database.
        load: what loading it took: seconds, peak_mb, and for mapgap rows.
        after: sequence of the newest change file in it.
    """

    dsn: str
    load: Mapping
    after: int = 0


class Bench:
    """Everything that is made once."""

    def __init__(self, directory: Path, cluster: Cluster, data: Path, peers: Sequence[Osm2pgsql]):
        self.directory = directory
        self.cluster = cluster
        self.peers = peers
        self.extract = data / "osm" / "extracts" / "liechtenstein-2022-07-24.osm.pbf"
        self._data = data
        self._stores: dict[tuple, Loaded] = {}
        self._minutes: dict[int, Minutes] = {}
        self._files: dict[int, dict[str, list[Path]]] = {}
        self.peaks: list[tuple[str, float, float]] = []

    @cached_property
    def world(self) -> World:
        return World(self.extract, LARGE)

    @cached_property
    def mix(self) -> Mix:
        return measure_mix(self.real_minutes)

    @cached_property
    def real_minutes(self) -> list[Path]:
        """Real minutely files of the planet, the smallest first."""
        return sorted((self._data / "osm" / "minutely_real").glob("*.osc.gz"), key=lambda path: path.stat().st_size)

    @cached_property
    def real_sizes(self) -> list[dict[str, int]]:
        """Nodes, ways and relations of the real minutely files."""
        return [self.sizes_of(path) for path in self.real_minutes]

    @staticmethod
    def sizes_of(path: Path) -> dict[str, int]:
        """Nodes, ways and relations of an OSM file."""
        kinds = Counter(thing.type_str() for thing in osmium.FileProcessor(str(path)))
        return {name: kinds[name[0]] for name in ("node", "way", "relation")}

    def country(self, name: str) -> tuple[Path, list[Path]]:
        """Extract and sorted daily change files of "andorra" or "monaco"."""
        (folder,) = (self._data / "osm").glob(f"{name}_*")
        (base,) = folder.glob("base-*.osm.pbf")
        days = sorted((folder / "replication" / "day").glob("*/*/*.osc.gz"))
        return base, [sort_changes(day, self.place(f"{name}-{i}.osc.gz")) for i, day in enumerate(days)]

    def place(self, name: str) -> Path:
        return self.directory / "files" / name

    def copies(self, first: int, last: int) -> Path:
        """The world's copies from `first` to before `last` as a PBF."""
        if (first, last) == (0, 1):
            return self.extract
        path = self.place(f"copies-{first}-{last}.osm.pbf")
        if not path.exists():
            with timed(f"making {last - first} copies of {self.extract.name}"):
                part = self.world.write(path.with_name(f"unfinished-{path.name}"), range(first, last))
                part.rename(path)
        return path

    def files(self, copies: int, kind: str) -> list[Path]:
        """The change files of a kind for the world's first copies; of the same shape whatever their number."""
        if copies not in self._files:
            minutes = self.minutes(copies)
            self._files[copies] = {
                name: [minutes.write(self.place(f"{copies}-{name}-{i}.osc.gz"), SIZES[name]) for i in range(count)]
                for name, count in (SERIES_OF_ONE if copies == 1 else SERIES).items()
            }
        return self._files[copies][kind]

    def minutes(self, copies: int) -> Minutes:
        if copies not in self._minutes:
            self._minutes[copies] = Minutes(self.world, self.mix, copies)
        return self._minutes[copies]

    def store(
        self, path: Path, selection: str, bbox: tuple[float, float, float, float] | None = None
    ) -> Loaded:
        """A mapgap database with this extract in it."""
        key = path, selection, bbox
        if key not in self._stores:
            name = f"mapgap_{len(self._stores)}"
            with timed(f"mapgap bootstrap of {path.name}, {selection}"):
                dsn = self.cluster.create(name)
                load = self.job("bootstrap", f"bootstrap of {path.name}, {selection}", dsn=dsn, path=path,
                                selection=selection, bbox=bbox)
                self.cluster.settle(dsn)
            self._stores[key] = Loaded(dsn, load)
        return self._stores[key]

    def peer_store(self, peer: Osm2pgsql, path: Path) -> Loaded:
        """An osm2pgsql database with this extract in it."""
        key = peer, path
        if key not in self._stores:
            name = f"peer_{len(self._stores)}"
            with timed(f"{peer.name} import of {path.name}"):
                dsn = self.cluster.create(name, "postgis")
                run = peer.load(dsn, path)
                self.cluster.settle(dsn)
            self._stores[key] = Loaded(dsn, {"seconds": run.seconds, "peak_mb": run.peak_mb})
        return self._stores[key]

    def apply(
        self, store: Loaded, files: Sequence[Path], selection: str, zoom: int,
        bbox: tuple[float, float, float, float] | None = None,
    ) -> dict:
        """The next change files of a mapgap database."""
        self.cluster.warm(store.dsn)
        what = f"applying {len(files)} files like {files[0].name}, {selection}, z{zoom}"
        with timed(f"mapgap {what}"):
            found = self.job("apply", what, dsn=store.dsn, files=files, selection=selection, zoom=zoom,
                             after=store.after, bbox=bbox)
        store.after += len(files)
        return found

    def job(self, name: str, what: str, **arguments: object) -> dict:
        """A job in a process of its own; its peak memory is kept for the table of them."""
        found = run_job(name, **arguments)
        self.peaks.append((what, found["peak_mb"], found["private_mb"]))
        return found

    def reading(self, files: Sequence[Path], **how: object) -> dict:
        """Seconds of pyosmium alone for each file."""
        found = run_job("read", files=files, **how)
        return {form: seconds for form, seconds in found.items() if not form.endswith("_mb")}

    def append(self, peer: Osm2pgsql, store: Loaded, files: Sequence[Path]) -> list[Run]:
        """The next change files of an osm2pgsql database."""
        self.cluster.warm(store.dsn)
        with timed(f"{peer.name} appends {len(files)} files"):
            return [peer.append(store.dsn, path) for path in files]

    def ask(self, store: Loaded, statement: str) -> list[tuple]:
        connection = psycopg2.connect(store.dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows


class timed:
    """Says what is under way, and how long it took."""

    def __init__(self, what: str):
        self._what = what

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        print(f"  {self._what}: {time.perf_counter() - self._begun:.1f} s", flush=True)


def sort_changes(path: Path, target: Path) -> Path:
    """A change file in the order that osm2pgsql needs."""
    if not target.exists():
        reader = osmium.MergeInputReader()
        reader.add_file(str(path))
        with osmium.SimpleWriter(str(target), overwrite=True) as writer:
            reader.apply(writer, simplify=False)
    return target
