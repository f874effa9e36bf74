"""Reports as files: GeoJSON for maps, CSV for tables, PNG for people."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from shapely.geometry import mapping

from daemon.errors import PublishError
from daemon.exporting import write_whole
from daemon.reports.cells import ReportCell


def write_files(
    directory: Path, name: str, cells: Sequence[ReportCell], columns: Mapping[str, Sequence[Any]],
    pictures: Mapping[str, np.ndarray], attribution: Sequence[str],
) -> list[Path]:
    """Write <name>.geojson, <name>.csv and the pictures; each file whole, or as it was before.

    Args:
        columns: by name, a value for each cell; NaN is written as null, or as an empty field.
        pictures: file name without .png -> RGB uint8 [H, W, 3].
        attribution: whom to name.

    Raises:
        PublishError: the directory cannot be made or written.
        StorageFull: no room.
    """
    rows = [
        {"name": cell.name, "area_km2": round(cell.area_km2, 4), **{k: _plain(v[i]) for k, v in columns.items()}}
        for i, cell in enumerate(cells)
    ]
    features = [
        {"type": "Feature", "id": row["name"], "geometry": mapping(cell.geometry), "properties": row}
        for cell, row in zip(cells, rows, strict=True)
    ]
    collection = {"type": "FeatureCollection", "attribution": list(attribution), "features": features}
    table = io.StringIO()
    writer = csv.DictWriter(table, ["name", "area_km2", *columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    contents = {
        f"{name}.geojson": json.dumps(collection, ensure_ascii=False, allow_nan=False).encode(),
        f"{name}.csv": table.getvalue().encode(),
        **{f"{title}.png": _png(picture) for title, picture in pictures.items()},
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PublishError(f"--out {directory}: cannot be made: {error.strerror}") from None
    for file, content in contents.items():
        write_whole(directory / file, lambda out, content=content: out.write(content))
    return [directory / file for file in contents]


def _png(picture: np.ndarray) -> bytes:
    ok, png = cv2.imencode(".png", picture[:, :, ::-1])
    assert ok, "OpenCV encodes every 8-bit picture"
    return png.tobytes()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
