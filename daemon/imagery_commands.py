"""The commands `mapgap imagery ...`: what the sources are, and how they lie against the map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli import CONFIG, load_config, main

if TYPE_CHECKING:
    from daemon.config import Imagery
    from daemon.imagery.offsets import Offset


@main.group()
def imagery() -> None:
    """What the sources of imagery are, and how they lie against the map."""


@imagery.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@CONFIG
def list_sources(as_json: bool, config_path: Path) -> None:
    """The configured sources: licence, whom to name, permission, zooms, date. Asks no server; `mapgap check` does."""
    from daemon.imagery.index import entries_of

    config = load_config(config_path)
    sources = [_facts(entry.settings, entry.area is not None) for entry in entries_of(config)]
    if as_json:
        click.echo(json.dumps({"ranking": config.mosaic.ranking, "sources": sources}, ensure_ascii=False, indent=2))
        return
    if not sources:
        click.echo("no [[imagery]] source is configured")
    for source in sources:
        click.echo(f"{source['name']}: {source['kind']} {source['url']}")
        for key in ("licence", "attribution", "permission", "zooms", "date", "pixels", "where"):
            if source[key]:
                click.echo(f"  {key:<12}{source[key]}")
    if len(sources) > 1:
        click.echo(f"who goes first at each place: {config.mosaic.ranking} (mosaic.ranking)")


@imagery.command()
@click.option("--source", metavar="NAME", help="Only of this source.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Draw them to this file.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, place by place.")
@CONFIG
def offsets(source: str | None, png: Path | None, as_json: bool, config_path: Path) -> None:
    """How far imagery lies off the map, as the looks so far found it, place by place (tiles of zoom 16)."""
    import cv2

    from daemon.db import open_database
    from daemon.imagery.offset_picture import draw_offsets
    from daemon.imagery.offsets import read_offsets

    with open_database(load_config(config_path)) as db, db.transaction() as cursor:
        found = read_offsets(cursor, source)
    if as_json:
        click.echo(json.dumps([_place(one) for one in found], indent=2))
    elif not found:
        click.echo("no offset was noted yet; looks at ground with claims bring them")
    else:
        for name in dict.fromkeys(one.source for one in found):
            click.echo(_summary(name, [one for one in found if one.source == name]))
    if png is not None:
        if not found:
            raise click.ClickException("nothing to draw: no offset was noted yet")
        done, data = cv2.imencode(".png", cv2.cvtColor(draw_offsets(found), cv2.COLOR_RGB2BGR))
        assert done, "OpenCV encodes every 8-bit picture"
        png.write_bytes(data.tobytes())
        click.echo(f"{png} written", err=True)


def _facts(source: Imagery, bounded: bool) -> dict[str, Any]:
    from daemon.imagery.documents import shown_place

    pixels = f"bands {', '.join(map(str, source.bands))} of {source.depth} bits"
    if source.stretch:
        pixels += f", {source.stretch[0]:g} to {source.stretch[1]:g} stretched"
    return {
        "name": source.name, "kind": source.kind, "url": shown_place(source.url), "licence": source.licence,
        "attribution": source.attribution, "permission": source.osm_permission,
        "zooms": f"{source.min_zoom} to {source.max_zoom}", "date": _date(source), "pixels": pixels,
        "where": "within the area of its index entry" if bounded else "",
    }


def _date(source: Imagery) -> str:
    """When it was taken, and who tells."""
    from daemon.imagery.dates import teller_of

    teller = teller_of(source)
    own = source.acquired.isoformat() if source.acquired else ""
    if teller and own:
        return f"{teller}, else {own}"
    return teller or own or "not known: no 'gone' or 'misplaced' claims (see acquired)"


def _place(one: Offset) -> dict[str, Any]:
    from daemon.imagery.offsets import CELL_ZOOM
    from daemon.tiling.grid import Block

    return {
        "source": one.source, "bbox": [round(v, 6) for v in Block(CELL_ZOOM, one.x, one.y, 1).lonlat()],
        "east_m": round(one.east_m, 2), "north_m": round(one.north_m, 2), "spread_m": round(one.spread_m, 2),
        "looks": one.looks, "first_look": one.first_look.isoformat(), "last_look": one.last_look.isoformat(),
    }


def _summary(name: str, found: list[Offset]) -> str:
    from statistics import median

    east, north = median(one.east_m for one in found), median(one.north_m for one in found)
    longest = max(found, key=lambda one: one.length_m)
    return (
        f"{name}: {len(found)} places, {sum(one.looks for one in found)} looks; median {east:+.2f} m east, "
        f"{north:+.2f} m north; the longest {longest.length_m:.2f} m at {_middle(longest)}; "
        f"last look {max(one.last_look for one in found):%Y-%m-%d}"
    )


def _middle(one: Offset) -> str:
    from daemon.imagery.offsets import CELL_ZOOM
    from daemon.tiling.grid import Block

    west, south, east, north = Block(CELL_ZOOM, one.x, one.y, 1).lonlat()
    return f"{(west + east) / 2:.4f},{(south + north) / 2:.4f}"
