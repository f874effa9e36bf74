"""The course of a training: lines of JSON, and a picture of them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

LINES, PICTURE = "training.jsonl", "training.png"
#: Size of the picture and its margins left, top, right, bottom; pixels.
WIDTH, HEIGHT = 960, 540
MARGINS = (80, 50, 80, 60)
#: Blue, green, red, as OpenCV has them.
INK, GRID, LOSS, SCORE = (40, 40, 40), (225, 225, 225), (190, 110, 30), (40, 110, 220)


class Course:
    """training.jsonl, written line by line: {"step", "loss", "rate", "tiles_per_s"} or {"step", "held_out_f1"}."""

    def __init__(self, directory: Path, upto: int = 0):
        """
        Args:
            upto: keeps the lines of a training cut off after so many steps; what it did later is done again.
        """
        self._path, self._picture = directory / LINES, directory / PICTURE
        self.records = [record for record in read_course(directory) if record["step"] <= upto] if upto else []
        draft = self._path.with_suffix(".part")
        draft.write_text("".join(json.dumps(record) + "\n" for record in self.records))
        os.replace(draft, self._path)
        self._file = self._path.open("a")

    def add(self, record: Mapping[str, Any]) -> None:
        self.records.append(dict(record))
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def draw(self, title: str) -> None:
        """Write training.png anew, whole."""
        good, encoded = cv2.imencode(".png", draw_curves(self.records, title))
        if good:
            draft = self._picture.with_suffix(".part")
            draft.write_bytes(encoded.tobytes())
            os.replace(draft, self._picture)

    def close(self) -> None:
        self._file.close()


def read_course(directory: Path) -> list[dict[str, Any]]:
    """The whole lines of training.jsonl; a last one that was cut off is left out."""
    records = []
    try:
        lines = (directory / LINES).read_text().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


def draw_curves(records: Sequence[Mapping[str, Any]], title: str) -> np.ndarray:
    """uint8 [540, 960, 3] BGR: loss (left axis) and held-out F1 (right axis) over steps."""
    image = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    left, top, right, bottom = MARGINS[0], MARGINS[1], WIDTH - MARGINS[2], HEIGHT - MARGINS[3]
    losses = [(r["step"], r["loss"]) for r in records if "loss" in r]
    scores = [(r["step"], r["held_out_f1"]) for r in records if "held_out_f1" in r]
    steps = ticks_between(0, max([step for step, _ in losses + scores], default=1))
    levels = ticks_between(min([0.0, *(loss for _, loss in losses)]), max([loss for _, loss in losses], default=1.0))

    def across(step: float) -> float:
        return left + (right - left) * step / steps[-1]

    def up(value: float, ticks: Sequence[float]) -> float:
        return bottom - (bottom - top) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    for tick in levels:
        row = round(up(tick, levels))
        cv2.line(image, (left, row), (right, row), GRID, 1)
        _write(image, f"{tick:g}", (left - 8, row), LOSS, align="right")
    for tick in steps:
        column = round(across(tick))
        cv2.line(image, (column, top), (column, bottom), GRID, 1)
        _write(image, f"{tick:g}", (column, bottom + 16), INK)
    cv2.rectangle(image, (left, top), (right, bottom), INK, 1)
    _write(image, title, ((left + right) // 2, 24), INK, scale=0.6)
    _write(image, "steps", ((left + right) // 2, bottom + 40), INK)
    _write(image, "loss", (left, top - 12), LOSS)
    _line(image, [(across(step), up(loss, levels)) for step, loss in losses], LOSS)
    if scores:
        shares = np.linspace(0, 1, 6)
        for tick in shares:
            _write(image, f"{tick:.1f}", (right + 8, round(up(tick, shares))), SCORE, align="left")
        best_step, best = max(scores, key=lambda pair: pair[1])
        _write(image, "held-out F1", (right, top - 12), SCORE)
        points = [(across(step), up(score, shares)) for step, score in scores]
        _line(image, points, SCORE)
        for column, row in points:
            cv2.circle(image, (round(column), round(row)), 3, SCORE, -1, cv2.LINE_AA)
        label = f"best {best:.3f} at step {best_step}"
        _write(image, label, (right - 8, bottom - 14), SCORE, align="right")
    return image


def ticks_between(low: float, high: float, about: int = 6) -> np.ndarray:
    """Round numbers, evenly spaced, from at most `low` to at least `high`."""
    span = max(high - low, 1e-9)
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return np.arange(first, max(last, first + 1) + 1) * step


def _line(image: np.ndarray, points: Sequence[tuple[float, float]], colour: tuple[int, int, int]) -> None:
    corners = np.round(np.array(points, dtype=float).reshape(-1, 1, 2) * 16).astype(np.int32)
    cv2.polylines(image, [corners], False, colour, 2, cv2.LINE_AA, shift=4)


def _write(image: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int], *, align: str = "centre",
           scale: float = 0.45) -> None:
    """Text whose middle is at `at`, or its left or right end."""
    text = text.encode("ascii", "replace").decode()
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    column = at[0] - {"left": 0, "centre": width // 2, "right": width}[align]
    cv2.putText(image, text, (column, at[1] + height // 2), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
