"""One self-contained HTML page, and a PNG of each area: what imagery shows, what OSM says, where they disagree."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np
import shapely

from daemon.picture import KIND_COLOURS, MASK_COLOUR, MEANINGS, OSM_COLOUR, Picture, Shown, View, draw_legend, join
from detectors.base import Frame

#: A picture with a longer side than this is made smaller, so that browsers can show it.
MAX_SIDE_PX = 4096
LAYERS = (("imagery", "imagery"), ("mask", "mask"), ("osm", "OSM"), ("discrepancies", "discrepancies"))
RENDERED_NOTICE = (
    "The imagery on this page is rendered: mapgap drew this town itself. It shows no real place, its OSM objects are "
    "made up, and nothing here may be drawn into OpenStreetMap."
)
_OSM_REF = re.compile(r"(node|way|relation)/\d+")


def write_page(
    directory: Path, blocks: Sequence[View], summary: Mapping[str, Any], attribution: Sequence[str], *,
    title: str = "mapgap", rendered: bool = False,
) -> list[Path]:
    """Write `index.html` and one PNG an area (picture.png, picture-2.png, ...) into `directory`.

    Args:
        directory: made if absent; files of the same name are replaced.
        blocks: what was looked at. Blocks that touch make one picture; places far from each other get their own.
        summary: shown above the picture; a value that is a list of mappings becomes a table, any other a line.
        attribution: one line each: whose imagery, which licence, OSM's own.
        rendered: the imagery is made up; the page says so plainly and links to nothing outside.

    Returns:
        The page and the pictures.

    Raises:
        ValueError: there is no block to draw.
    """
    if not blocks:
        raise ValueError("no block to draw: nothing was looked at yet")
    directory.mkdir(parents=True, exist_ok=True)
    shown = {d.key: d for view in blocks for d in view.discrepancies}
    written, areas = [], []
    for number, group in enumerate(_neighbours(blocks), start=1):
        picture = _fit(join([view.layers() for view in group]))
        path = directory / ("picture.png" if number == 1 else f"picture-{number}.png")
        flat = picture.flat()
        path.write_bytes(_code(np.vstack([flat, draw_legend(flat.shape[1])]), ".png"))
        written.append(path)
        inside = {d.key: d for view in group for d in view.discrepancies}
        areas.append(_area(number, picture, list(inside.values())))
    page = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        notice=f'<p class="notice">{escape(RENDERED_NOTICE)}</p>' if rendered else "",
        summary=_summary(summary),
        areas="\n".join(areas),
        table=_table(shown.values(), rendered),
        attribution="<br>".join(escape(line) for line in attribution),
    )
    target = directory / "index.html"
    target.write_text(page, encoding="utf-8")
    return [target, *written]


def _neighbours(blocks: Sequence[View]) -> list[list[View]]:
    """Blocks in groups that touch each other, in the order given."""
    boxes = [shapely.box(*view.chip.bounds) for view in blocks]
    tree = shapely.STRtree(boxes)
    group = list(range(len(blocks)))

    def root(i: int) -> int:
        while group[i] != i:
            i = group[i]
        return i

    for i, one in enumerate(boxes):
        for j in tree.query(one, "intersects"):
            a, b = sorted((root(i), root(int(j))))
            group[b] = a
    found: dict[int, list[View]] = {}
    for i, view in enumerate(blocks):
        found.setdefault(root(i), []).append(view)
    return list(found.values())


def _fit(picture: Picture) -> Picture:
    height, width = picture.imagery.shape[:2]
    scale = MAX_SIDE_PX / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    planes = (picture.imagery, picture.mask, picture.osm, picture.discrepancies)
    return Picture(*(cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in planes), bounds=picture.bounds)


def _area(number: int, picture: Picture, discrepancies: Iterable[Shown]) -> str:
    height, width = picture.imagery.shape[:2]
    frame = Frame(picture.bounds, (height, width))
    parts = ['<section class="area">']
    for name, text in LAYERS:
        parts.append(
            f'<input type="checkbox" class="layer pick-{name}" id="pick-{name}-{number}" checked>'
            f'<label for="pick-{name}-{number}">{text}</label>'
        )
    parts.append('<div class="view">')
    parts.append(f'<img class="imagery" alt="imagery" width="{width}" src="{_data_uri(picture.imagery, ".jpg")}">')
    for name in ("mask", "osm", "discrepancies"):
        parts.append(f'<img class="over {name}" alt="{name}" src="{_data_uri(getattr(picture, name), ".png")}">')
    parts.append(f'<svg class="discrepancies" viewBox="0 0 {width} {height}" role="img">')
    for d in discrepancies:
        hull = frame.to_local(d.geometry).convex_hull.buffer(0.5, join_style="mitre")
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in frame.local_to_pixels(shapely.get_coordinates(hull)))
        parts.append(
            f'<a href="#{_anchor(d.key)}"><polygon class="spot" points="{points}">'
            f"<title>{escape(d.kind)} {_percent(d.confidence)}, {escape(d.state)}</title></polygon></a>"
        )
    parts.append("</svg></div>")
    swatches = [(KIND_COLOURS[k], text) for k, text in MEANINGS.items()]
    swatches += [(OSM_COLOUR, "OpenStreetMap"), (MASK_COLOUR, "mask: what the network sees")]
    parts.append('<p class="legend">')
    parts += [f'<span><i style="background:rgb{colour}"></i>{escape(text)}</span>' for colour, text in swatches]
    parts.append("</p></section>")
    return "\n".join(parts)


def _table(discrepancies: Iterable[Shown], rendered: bool) -> str:
    rows = []
    for d in sorted(discrepancies, key=lambda d: (d.kind, -d.confidence, d.key)):
        point = d.geometry.representative_point()
        place = f"{point.y:.6f}, {point.x:.6f}"
        osm = getattr(d, "osm", None)
        known = escape(osm) if osm else "new"
        if not rendered:
            place = f'<a href="https://www.openstreetmap.org/#map=19/{point.y:.6f}/{point.x:.6f}">{place}</a>'
            if osm and _OSM_REF.fullmatch(osm):
                known = f'<a href="https://www.openstreetmap.org/{osm}">{osm}</a>'
        rows.append(
            f'<tr id="{_anchor(d.key)}"><td>{escape(d.kind)}</td><td class="number">{_percent(d.confidence)}</td>'
            f"<td>{escape(d.state)}</td><td>{known}</td><td>{place}</td><td>{escape(d.key)}</td></tr>"
        )
    if not rows:
        return "<p>None: map and ground agree everywhere that was looked at.</p>"
    heads = "".join(f"<th>{h}</th>" for h in ("kind", "confidence", "state", "OSM object", "lat, lon", "key"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"


def _summary(summary: Mapping[str, Any]) -> str:
    lines, tables = [], []
    for name, value in summary.items():
        if isinstance(value, (list, tuple)) and value and all(isinstance(row, Mapping) for row in value):
            heads = list(dict.fromkeys(key for row in value for key in row))
            head = "".join(f"<th>{escape(str(h))}</th>" for h in heads)
            body = "".join(
                "<tr>" + "".join(f"<td>{escape(_said(row.get(h)))}</td>" for h in heads) + "</tr>" for row in value
            )
            tables.append(f"<h2>{escape(name)}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        else:
            lines.append(f"<dt>{escape(name)}</dt><dd>{escape(_said(value))}</dd>")
    return (f"<dl>{''.join(lines)}</dl>" if lines else "") + "".join(tables)


def _said(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) and math.isfinite(value) else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _anchor(key: str) -> str:
    return "d-" + re.sub(r"[^A-Za-z0-9_-]", "-", key)


def _code(pixels: np.ndarray, suffix: str) -> bytes:
    """RGB or RGBA -> the bytes of an image file."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    options = [cv2.IMWRITE_JPEG_QUALITY, 85] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 7]
    _, coded = cv2.imencode(suffix, cv2.cvtColor(pixels, order), options)
    return coded.tobytes()


def _data_uri(pixels: np.ndarray, suffix: str) -> str:
    kind = {".jpg": "image/jpeg", ".png": "image/png"}[suffix]
    return f"data:{kind};base64,{base64.b64encode(_code(pixels, suffix)).decode('ascii')}"
