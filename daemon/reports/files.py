"""Reports as files: GeoJSON for maps, CSV for tables, PNG for people."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from shapely.geometry import mapping

from daemon.errors import PublishError, StorageFull
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
        return [_write(directory / file, content) for file, content in contents.items()]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"--out {directory}: no space left on device; make room there") from None
        raise PublishError(f"--out {directory}: cannot be written: {error.strerror}") from None


def _write(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    return path


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
