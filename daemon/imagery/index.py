"""An entry of an imagery index as a source: what it is, who may use it, where and when it was taken.

Format: GeoJSON as the editor-layer-index writes it (schema.json of its repository), of one entry or of all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from daemon.config import Config, Imagery
from daemon.errors import ImageInvalid, ImageryForbidden
from daemon.imagery.dates import oldest_day
from daemon.imagery.directory import local_path
from daemon.imagery.document import parse_json, shorten
from daemon.sections.ground import PERMISSIONS

#: What an index calls kinds, and what they are here.
KINDS = {"tms": "xyz", "bing": "xyz", "wms": "wms", "wms_endpoint": "wms", "wmts": "wmts"}
#: Words of permission_osm that allow use.
ALLOWED = ("explicit", "implicit")
#: Categories of entries that are drawn, most of them from OSM itself: no witness of the ground.
DRAWN = ("map", "osmbasedmap", "historicmap", "qa", "elevation")
_QUADKEY = re.compile(r"\{(?:q|quadkey|u)\}")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as settings of a source.

    Attributes:
        settings: with the kind, url, zooms, date, licence, attribution and permission that the entry states, where the
            configuration does not say another.
        area: where it has imagery, lon/lat; None for the whole world.
    """

    settings: Imagery
    area: BaseGeometry | None


def entries_of(config: Config) -> list[Entry]:
    """Every source of a configuration, those of kind "index" as what their entries say.

    Raises:
        ImageInvalid, ImageryForbidden: see `read_entry`; names the source.
    """
    entries = []
    for i, settings in enumerate(config.imagery):
        if settings.kind != "index":
            entries.append(Entry(settings, None))
            continue
        try:
            entries.append(read_entry(settings, config.client.max_document))
        except (ImageInvalid, ImageryForbidden) as error:
            raise type(error)(f"imagery[{i}] ({settings.name}): {error}") from None
    return entries


def read_entry(settings: Imagery, max_bytes: int) -> Entry:
    """The entry that a source of kind "index" names.

    Args:
        max_bytes: a larger index is refused.

    Raises:
        ImageInvalid: no such file or entry, or of a kind that is not read.
        ImageryForbidden: it must not be used for OSM, or does not say that it may.
    """
    path = Path(local_path(settings.url))
    try:
        if path.stat().st_size > max_bytes:
            raise ImageInvalid(f"{path}: more than client.max_document = {max_bytes} bytes; refused")
        tree = parse_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ImageInvalid(f"{path}: {(error.strerror or 'cannot be read').lower()}; an imagery index is a file of "
                           "this machine") from None
    feature = _find(tree, settings.entry, str(path))
    said = feature["properties"]
    origin = f"{path} entry {shorten(str(said.get('id', '')))!r}"
    kind = KINDS.get(str(said.get("type", "")))
    url = said.get("url")
    if kind is None or not isinstance(url, str):
        raise ImageInvalid(f"{origin}: of type {shorten(str(said.get('type')))!r}; read are {', '.join(KINDS)}")
    if said.get("type") == "bing" and not _QUADKEY.search(url):
        raise ImageInvalid(f"{origin}: its tiles' address is told by a metadata service only; write a source of kind "
                           "xyz with {quadkey} and {apikey} in the url, and no_tile_header = "
                           '"X-VE-Tile-Info: no-tile"')
    if said.get("overlay") or said.get("category") in DRAWN:
        what = "an overlay" if said.get("overlay") else f"of category {said['category']!r}"
        raise ImageInvalid(f"{origin}: {what}, no imagery")
    values: dict[str, Any] = {"kind": kind, "url": url.replace("{ty}", "{-y}")}
    values |= _zooms(said, settings) | _permission(said, settings, origin)
    if settings.acquired is None:
        values["acquired"] = oldest_day(str(said.get("start_date") or ""))
    if isinstance(said.get("tile_size"), int) and said["tile_size"] in (256, 512):
        values["tile_size"] = said["tile_size"]
    if kind == "wms" and not settings.crs and "{proj}" in url:
        values["crs"] = _system(said, origin)
    if not settings.layer and (layers := _default_layers(said)):
        values["layer"] = layers
    header = said.get("no_tile_header")
    if isinstance(header, dict) and header and not settings.no_tile_header:
        name, value = next(iter(header.items()))
        first = value[0] if isinstance(value, list) and value else value
        values["no_tile_header"] = f"{name}: {first}"
    return Entry(settings.model_copy(update=values), _area(feature, origin))


def _find(tree: Any, wanted: str, origin: str) -> dict[str, Any]:
    features = [tree] if isinstance(tree, dict) and tree.get("type") == "Feature" else None
    if features is None and isinstance(tree, dict) and isinstance(tree.get("features"), list):
        features = tree["features"]
    if features is None:
        raise ImageInvalid(f"{origin}: no imagery index; expected GeoJSON, a Feature or a FeatureCollection")
    known = [f for f in features if isinstance(f, dict) and isinstance(f.get("properties"), dict)]
    found = [f for f in known if f["properties"].get("id") == wanted] if wanted else known
    if len(found) != 1:
        ids = [str(f["properties"].get("id")) for f in known]
        what = f"has {len(found)} entries {wanted!r}" if wanted else f"has {len(found)} entries; set entry"
        raise ImageInvalid(f"{origin}: {what}; there are: {shorten(', '.join(ids)) or 'none'}")
    return found[0]


def _permission(said: dict[str, Any], settings: Imagery, origin: str) -> dict[str, str]:
    """Licence, attribution and permission, from the configuration or else the entry.

    Raises:
        ImageryForbidden: the entry says no, whatever the configuration says, or nobody says yes.
    """
    permission = str(said.get("permission_osm") or "").strip().lower()
    if permission and permission not in ALLOWED:
        raise ImageryForbidden(
            f"{origin}: permission_osm is {shorten(permission)!r}: it must not be used to improve OSM"
        )
    credit = said.get("attribution")
    credit = credit.get("text") if isinstance(credit, dict) else credit
    licence = _text(said.get("license_url")) or _text(said.get("license"))
    values = {
        "licence": settings.licence or licence,
        "attribution": settings.attribution or _text(credit),
        "osm_permission": settings.osm_permission
        or (f"the imagery index states {permission} permission" + (f" ({licence})" if licence else "")
            if permission else ""),
    }
    lacking = [f"{key}: neither the entry nor the configuration states {meaning}"
               for key, meaning in PERMISSIONS.items() if not values[key].strip()]
    if lacking:
        raise ImageryForbidden(f"{origin}: " + "; ".join(lacking))
    return values


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _default_layers(said: dict[str, Any]) -> str:
    """The layers that an entry of a whole service names, with commas between."""
    layers = said.get("default_layers")
    told = [one.get("layer") for one in layers if isinstance(one, dict)] if isinstance(layers, list) else []
    return ",".join(one["name"] for one in told if isinstance(one, dict) and isinstance(one.get("name"), str))


def _zooms(said: dict[str, Any], settings: Imagery) -> dict[str, int]:
    """The entry's zooms, within those of the configuration."""
    low, high = said.get("min_zoom"), said.get("max_zoom")
    return {
        "min_zoom": max(settings.min_zoom, low) if isinstance(low, int) else settings.min_zoom,
        "max_zoom": min(settings.max_zoom, high) if isinstance(high, int) else settings.max_zoom,
    }


def _system(said: dict[str, Any], origin: str) -> str:
    """The coordinate system to ask in, mercator where there is."""
    offered = said.get("available_projections")
    names = [str(name).upper() for name in offered] if isinstance(offered, list) else ["EPSG:3857"]
    for wanted in ("EPSG:3857", "EPSG:900913", "EPSG:4326"):
        if wanted in names:
            return wanted
    known = [name for name in names if re.fullmatch(r"EPSG:\d{4,6}|CRS:84", name)]
    if not known:
        raise ImageInvalid(f"{origin}: none of its projections is known: {shorten(', '.join(names))}")
    return known[0]


def _area(feature: dict[str, Any], origin: str) -> BaseGeometry | None:
    geometry = feature.get("geometry")
    if geometry is None:
        return None
    try:
        area = shapely.make_valid(shape(geometry))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, shapely.errors.ShapelyError):
        raise ImageInvalid(f"{origin}: its geometry cannot be read") from None
    if area.is_empty or not area.area:
        raise ImageInvalid(f"{origin}: its geometry covers nothing")
    return area
