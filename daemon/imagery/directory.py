"""Tiles in a directory."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.files import TileFile
from daemon.imagery.template import TileTemplate
from daemon.tiling.grid import Tile

#: Endings tried, in this order, where the template has none. PNG and WebP first: they may know transparency.
ENDINGS = (".png", ".webp", ".jpg", ".jpeg", ".PNG", ".WEBP", ".JPG", ".JPEG")
_ENDING = re.compile(r"(?:\.(?:png|webp|jpe?g))?", re.IGNORECASE)


class DirectoryTiles:
    """Image files below a directory.

    Args:
        location: a directory that holds {z}/{x}/{y} with any of `ENDINGS`, or a template of a path; file:// or plain.
        tms: rows are counted from the south.
        max_bytes: a larger file is refused.
    """

    def __init__(self, location: str, tms: bool, max_bytes: int):
        path = local_path(location)
        self.template = TileTemplate(path if "{" in path else f"{path.rstrip('/')}/{{z}}/{{x}}/{{y}}", tms)
        parts = self.template.text.split("/")
        self._depth = next((i for i, part in enumerate(parts) if "{" in part), len(parts))
        self.root = Path("/".join(parts[: self._depth]) or "/")
        self._max_bytes = max_bytes
        self._endings = ("", *ENDINGS)

    @property
    def problem(self) -> str | None:
        if self.template.problem:
            return f"{self.template.text}: {self.template.problem}"
        if not self.root.is_dir():
            return f"{self.root}: no such directory"
        if not os.access(self.root, os.R_OK | os.X_OK):
            return f"{self.root}: not permitted to read it"
        return None

    def read(self, tile: Tile) -> TileFile | None:
        """As `TileFiles.read`; a whole directory that is gone is unavailable."""
        base = self.template.fill(tile)
        for ending in self._endings:
            path = base + ending
            try:
                status = os.stat(path)
                if stat.S_ISDIR(status.st_mode) and not ending:
                    continue
                if not stat.S_ISREG(status.st_mode):
                    raise ImageInvalid(f"{path}: not a file")
                if status.st_size > self._max_bytes:
                    size, most = status.st_size, self._max_bytes
                    raise ImageInvalid(f"{path}: {size} bytes, more than client.max_image = {most}")
                with open(path, "rb") as file:
                    data = file.read(self._max_bytes)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise ImageryUnavailable(f"{path}: cannot be read: {error.strerror}") from None
            if ending != self._endings[0]:  # the next tile most likely ends like this one
                self._endings = (ending, *(e for e in ("", *ENDINGS) if e != ending))
            return TileFile(data, path) if data else None
        self.require_root()
        return None

    def zooms(self) -> set[int]:
        found: set[int] = set()
        for zoom in self._zoom_names():
            if zoom not in found and next(self.tiles(zoom), None) is not None:
                found.add(zoom)
        return found

    def tiles(self, zoom: int, since: float | None = None) -> Iterator[Tile]:
        """As `TileFiles.tiles`, in no particular order; a file that was put there counts as one that was written."""
        seen: set[Tile] = set()
        for values, entry in self._walk(self.root, self._patterns(), {}, zoom):
            tile = self.template.tile(values)
            if tile is not None and tile.z == zoom and tile not in seen:
                if since is not None and _written(entry) <= since:
                    continue
                seen.add(tile)
                yield tile

    def state(self, zoom: int) -> tuple[str, float]:
        """As `TileFiles.state`: by name, size and time."""
        self.require_root()
        digest, newest = hashlib.sha256(), 0.0
        for _, entry in self._walk(self.root, self._patterns(), {}, zoom):
            status = entry.stat()
            digest.update(f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
            newest = max(newest, _written(entry))
        return digest.hexdigest(), newest

    def check(self) -> list[str]:
        return [self.problem] if self.problem else []

    def close(self) -> None:
        """No file stays open."""

    def require_root(self) -> None:
        """Raises: ImageryUnavailable: the whole directory is gone."""
        if not self.root.is_dir():
            raise ImageryUnavailable(f"{self.root}: the directory of imagery is gone; is its disk mounted?")

    def _patterns(self) -> list[re.Pattern[str]]:
        parts = list(self.template.patterns())[self._depth :]
        return [*parts[:-1], re.compile(parts[-1].pattern + f"(?i:{_ENDING.pattern})")]

    def _zoom_names(self) -> Iterator[int]:
        """Numbers that stand where the template has the zoom."""
        patterns = self._patterns()
        names = self.template.names()
        depth = next(i for i, p in enumerate(patterns) if any(names[int(g[1:])] == "z" for g in p.groupindex))
        for values, _ in self._walk(self.root, patterns[: depth + 1], {}, None):
            yield values["z"]

    def _walk(
        self, directory: Path | str, patterns: list[re.Pattern[str]], values: dict[str, int], zoom: int | None
    ) -> Iterator[tuple[dict[str, int], os.DirEntry[str]]]:
        """All paths below `directory` that match, with their placeholders' values; of one zoom only unless None."""
        names = self.template.names()
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise ImageryUnavailable(f"{directory}: cannot be listed: {error.strerror}") from None
        for entry in entries:
            match = patterns[0].fullmatch(entry.name)
            if match is None:
                continue
            new = dict(values)
            found = [(names[int(group[1:])], int(value)) for group, value in match.groupdict().items()]
            agrees = all(new.setdefault(name, value) == value for name, value in found)
            if not agrees or (zoom is not None and new.get("z", zoom) != zoom):
                continue
            if len(patterns) == 1:
                yield new, entry
            else:
                yield from self._walk(entry.path, patterns[1:], new, zoom)


def _written(entry: os.DirEntry[str]) -> float:
    """When the file came: a copy may keep the time at which its original was written."""
    status = entry.stat()
    return max(status.st_mtime, status.st_ctime)


def local_path(location: str) -> str:
    """A plain path, or the path of a file:// URL."""
    return unquote(urlsplit(location).path) if location.lower().startswith("file://") else location
