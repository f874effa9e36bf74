"""All configured sources together: what the rest of mapgap asks for pixels."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from datetime import date

from daemon.config import Config
from daemon.config import Imagery as Settings
from daemon.errors import ConfigError, ImageInvalid, ImageryError
from daemon.fetch import Fetcher
from daemon.imagery.cache import Cache
from daemon.imagery.chip import Patch, Piece, assemble
from daemon.imagery.index import entries_of
from daemon.imagery.layout import Layout
from daemon.imagery.opening import make_fetcher, open_source, refuse_forbidden
from daemon.imagery.ranking import rank
from daemon.imagery.source import Content, ImagerySource, TileImage
from daemon.tiling.grid import TILE_PX, Block, Tile, tile_at
from detectors.base import Chip

log = logging.getLogger(__name__)

#: Threads that read and decode files; HTTP sources add their connections.
READERS = 2


class Imagery:
    """The configured sources in their order. Safe to share between threads.

    Attributes:
        settings: of each source, as configured; of an imagery index, what the entry says.
        cache: the disk cache of imagery; others may keep what they like in it (keys must not begin with "tile ",
            "document " or "range ").
        invalid: how many tiles of each source were there but could not be used, by source name.
    """

    def __init__(
        self, config: Config, settings: Sequence[Settings], sources: list[ImagerySource], cache: Cache,
        fetcher: Fetcher | None,
    ):
        self._config = config
        self.settings = tuple(settings)
        self._sources = sources
        self._fetcher = fetcher
        self._layout = sources[0].layout if sources else Layout()
        self.cache = cache
        self.invalid: Counter[str] = Counter()
        self._count_lock = threading.Lock()
        workers = READERS + (config.client.connections if fetcher is not None else 0)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="imagery")

    @classmethod
    def open(cls, config: Config, stop: threading.Event | None = None) -> Imagery:
        """Open every source.

        Args:
            stop: ends requests under way when it is set.

        Raises:
            ImageryForbidden: a source lacks licence, attribution or permission, or HTTP imagery a contact; names keys.
            ConfigError: a source's location or key is wrong; names all such keys.
        """
        entries = entries_of(config)
        settings = [entry.settings for entry in entries]
        refuse_forbidden(config, settings)
        fetcher = make_fetcher(config, settings, stop)
        cache = Cache(config.data_dir / "cache", config.client.cache, config.client.cache_days * 86400)
        sources: list[ImagerySource] = []
        problems: list[str] = []
        for i, entry in enumerate(entries):
            key, name = f"imagery[{i}]", entry.settings.name
            try:
                sources.append(open_source(entry, config, fetcher, cache))
            except ImageInvalid as error:
                problems.append(f"{key}.url ({name}): {error}")
            except ConfigError as error:
                problems += [f"{key}.{error.source} ({name}): {problem}" for problem in error.problems]
        imagery = cls(config, settings, sources, cache, fetcher)
        if problems:
            imagery.close()
            raise ConfigError("imagery", problems)
        return imagery

    def chip(self, block: Block, margin_px: int) -> Chip:
        """The imagery of a block and of `margin_px` pixels around it.

        Sources are asked for each tile in the order that mosaic.ranking gives them there; a later one fills only what
        the earlier ones leave without imagery. `Chip.source` names the source that gave most pixels, "" where none
        did. `Chip.acquired` is the oldest of the days of all tiles that gave pixels, None if one of them has none. A
        tile that cannot be used counts as no imagery, with a warning.

        Returns:
            A chip of side * 256 + 2 * margin_px pixels, uint8 or uint16 [H, W, C] as all sources are configured.

        Raises:
            ImageryUnavailable: a server or disk is failing; the block is worth another try.
        """
        patches = list(_patches(block, margin_px))
        futures: dict[Tile, Future[list[Piece]]] = {}
        for patch in patches:
            if patch.tile not in futures:
                futures[patch.tile] = self._pool.submit(self._pieces, patch.tile)
        done, pending = wait(futures.values(), return_when=FIRST_EXCEPTION)
        for future in pending:  # there are some only if one failed
            future.cancel()
        for future in done:
            future.result()
        pieces = {tile: future.result() for tile, future in futures.items()}
        return assemble(block, margin_px, patches, pieces, self._layout)

    def coverage(self, zoom: int) -> set[Tile] | None:
        """Tiles of `zoom` where any source has imagery; None where a source cannot tell."""
        found: set[Tile] = set()
        for source in self._sources:
            tiles = source.coverage(zoom)
            if tiles is None:
                return None
            found |= tiles
        return found

    @property
    def order(self) -> dict[str, date | None]:
        """The sources' names, in the order in which they are asked, with the day each was taken."""
        return {source.name: source.acquired for source in self._sources}

    def coverage_of(self, name: str, zoom: int, since: float | None = None) -> set[Tile] | None:
        """As `coverage`, of one source; with `since`, only what may have changed after it (seconds since 1970).

        Raises:
            KeyError: no source is called so.
        """
        return self._source(name).coverage(zoom, since)

    def content_of(self, name: str, zoom: int) -> Content:
        """What can be told of a source's files without reading them.

        Raises:
            KeyError: no source is called so.
        """
        return self._source(name).content(zoom)

    def attributions(self) -> list[dict[str, str | None]]:
        """Whom to name in every feed: name, licence, attribution and acquired (ISO date) of each source."""
        return [
            {
                "name": source.name,
                "licence": source.licence,
                "attribution": source.attribution,
                "acquired": source.acquired.isoformat() if source.acquired else None,
            }
            for source in self._sources
        ]

    def check(self) -> list[str]:
        """Ask each source for one tile of the area; a line for everything that is wrong, [] when all is well."""
        problems = [] if self._sources else ["imagery: no source is configured; nothing can be looked at"]
        for i, source in enumerate(self._sources):
            problems += [f"imagery[{i}] ({source.name}): {problem}" for problem in self._check(source)]
        return problems

    def close(self) -> None:
        """Stop the threads; let go of files and connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for source in self._sources:
            source.close()
        if self._fetcher is not None:
            self._fetcher.close()

    def __enter__(self) -> Imagery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pieces(self, tile: Tile) -> list[Piece]:
        """What the sources give for a tile, in their order, until it is full."""
        pieces: list[Piece] = []
        lacking = None
        for source in self._ranked(tile):
            image = self._usable(source, tile)
            if image is None:
                continue
            gives = image.valid if lacking is None else image.valid & lacking
            if gives.any():
                pieces.append(Piece(source.name, image.pixels, gives, image.acquired))
                lacking = ~gives if lacking is None else lacking & ~gives
                if not lacking.any():
                    break
        return pieces

    def _ranked(self, tile: Tile) -> list[ImagerySource]:
        """The sources that may have a tile; one that cannot tell what it has comes last, and tells why when asked."""
        ranking = self._config.mosaic.ranking
        try:
            return rank(self._sources, tile, ranking)
        except ImageInvalid:
            telling, silent = [], []
            for source in self._sources:
                try:
                    source.here(tile)
                    telling.append(source)
                except ImageInvalid:
                    silent.append(source)
            return [*rank(telling, tile, ranking), *silent]

    def _source(self, name: str) -> ImagerySource:
        return {source.name: source for source in self._sources}[name]

    def _usable(self, source: ImagerySource, tile: Tile) -> TileImage | None:
        try:
            return source.tile(tile)
        except ImageInvalid as error:
            with self._count_lock:
                self.invalid[source.name] += 1
            log.warning(
                "tile %s of %s counts as no imagery: %s", tile, source.name, error,
                extra={"tile": str(tile), "source": source.name},
            )
            return None

    def _check(self, source: ImagerySource) -> Iterator[str]:
        zoom = self._config.tiling.zoom
        try:
            problems = source.check()
            yield from problems
            if problems:
                return
            covered = source.coverage(zoom)
            if covered is not None and not covered:
                has = ", ".join(map(str, sorted(source.zooms()))) or "none"
                yield f"has nothing at tiling.zoom = {zoom}; zooms it has: {has}"
                return
            tiles = self._probes(zoom)
            if covered is not None:
                within = [tile for tile in tiles if tile in covered] or sorted(self._within_area(covered))
                if not within:
                    yield f"none of its {len(covered)} tiles of zoom {zoom} lies in the area"
                    return
                tiles = within[:1]
            for tile in tiles:
                if source.tile(tile) is not None:
                    return
            if covered is None and tiles:
                yield f"no imagery at the middle of the area nor around it (asked for {tiles[0]} and others)"
        except ImageryError as error:
            yield str(error)

    def _probes(self, zoom: int) -> list[Tile]:
        """Tiles of the area to try: its middle first, then eight around it."""
        bbox = self._config.area.bbox
        if bbox is None:
            return []
        west, south, east, north = bbox
        shares = sorted(((x, y) for x in (0.5, 0.2, 0.8) for y in (0.5, 0.2, 0.8)), key=lambda s: s != (0.5, 0.5))
        tiles = [tile_at(west + x * (east - west), south + y * (north - south), zoom) for x, y in shares]
        return list(dict.fromkeys(tiles))

    def _within_area(self, covered: set[Tile]) -> Iterator[Tile]:
        bbox = self._config.area.bbox
        if bbox is None:
            yield from covered
            return
        for tile in covered:
            first, last = tile_at(bbox[0], bbox[3], tile.z), tile_at(bbox[2], bbox[1], tile.z)
            if first.x <= tile.x <= last.x and first.y <= tile.y <= last.y:
                yield tile


def _patches(block: Block, margin_px: int) -> Iterator[Patch]:
    """The tiles of a block and its margin and where each goes.

    The margin goes on across the antimeridian. Beyond the poles there is nothing, nor where a block itself sticks out
    of the world: what is judged there belongs to the block on the other side.
    """
    n = 1 << block.z
    reach = -(-margin_px // TILE_PX)
    first_x, first_y = block.bx * block.side, block.by * block.side
    for row in range(-reach, block.side + reach):
        y = first_y + row
        if not 0 <= y < n:
            continue
        for column in range(-reach, block.side + reach):
            x = first_x + column
            if 0 <= column < block.side and x >= n:
                continue
            yield Patch(Tile(block.z, x % n, y), row, column)
