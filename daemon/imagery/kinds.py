"""Which kind of source a url most likely is, for `mapgap init`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from daemon.imagery.directory import local_path
from daemon.imagery.documents import is_url

#: By how a path ends.
ENDINGS = {
    ".tif": "geotiff", ".tiff": "geotiff", ".jp2": "geotiff", ".vrt": "vrt", ".mbtiles": "mbtiles", "/wms": "wms",
    "/wmts": "wmts", "wmtscapabilities.xml": "wmts",
}
#: How much of a JSON file is read to tell a STAC document from an imagery index.
BEGINNING = 1024 * 1024


def kind_of(url: str) -> str:
    """The kind as in config.toml."""
    if url.lower().startswith(("postgresql://", "postgres://")):
        return "postgis"
    if "{bbox}" in url or "{w}" in url:
        return "wms"
    if "{" in url.replace("{apikey}", ""):
        return "xyz"
    parts = urlsplit(url)
    service = {name.upper(): value.upper() for name, value in parse_qsl(parts.query)}.get("SERVICE")
    if service in ("WMS", "WMTS"):
        return service.lower()
    path = (parts.path if is_url(url) else local_path(url)).lower().rstrip("/")
    if path.endswith((".json", ".geojson")):
        return "index" if _is_index(url) else "stac"
    return next((kind for ending, kind in ENDINGS.items() if path.endswith(ending)), "xyz")


def _is_index(url: str) -> bool:
    """Whether a JSON file of this machine is an imagery index; what cannot be read is none."""
    if is_url(url):
        return False
    try:
        with Path(local_path(url)).expanduser().open("rb") as file:
            beginning = file.read(BEGINNING)
    except OSError:
        return False
    return b'"stac_version"' not in beginning and b'"url"' in beginning
