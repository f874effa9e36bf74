"""How fast each engine is on this machine: measured for two seconds at most, and remembered.

What is remembered holds for one machine, one bundle, one set of installed versions and one number of threads; when any
of these is another, it is measured again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectors.errors import BundleInvalid, ModelError
from detectors.segmentation.bundle import Bundle, Card
from detectors.segmentation.engines.base import Engine, first_line
from detectors.segmentation.mxnet_runtime import usable_cpus

log = logging.getLogger(__name__)

#: Seconds that a probe may take in all, opening the engines included.
BUDGET_S = 2.0
#: Side of the tile that is segmented, in pixels, rounded to the bundle's stride.
SIDE_PX = 256
#: A tile is timed so often, at least once; the shortest counts, which noise cannot reach.
ROUNDS = 6
#: The memory, and what it may hold at most.
FILE, MAX_BYTES, MAX_ENTRIES = "engines.json", 1024**2, 200
PACKAGES = ("openvino", "onnxruntime", "onnxruntime-gpu", "mxnet")


class Candidate(NamedTuple):
    """What could run a bundle."""

    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True, slots=True)
class Measured:
    """Outcome of a probe.

    Attributes:
        candidate: the fastest.
        speeds: "engine precision" -> tiles of 256 x 256 px a second, None where there was no time left or it failed.
        seconds: what the probe took.
        day: when, ISO date.
    """

    candidate: Candidate
    speeds: Mapping[str, float | None]
    seconds: float
    day: str

    @property
    def figures(self) -> str:
        told = [f"{name} {speed:.0f}" for name, speed in self.speeds.items() if speed is not None]
        untold = [name for name, speed in self.speeds.items() if speed is None]
        return f"tiles/s: {', '.join(told)}" + (f"; not measured: {', '.join(untold)}" if untold else "")


def fastest(
    candidates: Sequence[Candidate], open_one: Callable[[Candidate], Engine], card: Card,
    costs: Callable[[Candidate], float], budget: float = BUDGET_S, clock: Callable[[], float] = time.perf_counter,
) -> tuple[Engine, Measured]:
    """Open one after the other for as long as there is time, and keep the fastest.

    Args:
        candidates: those expected to be faster first: the last are the ones that time may run out for.
        costs: seconds that must be left before a candidate is opened.

    Raises:
        ModelError: none of them can be opened and run; that of the first.
    """
    begun = clock()
    speeds: dict[str, float | None] = dict.fromkeys(map(str, candidates))
    best: tuple[float, Engine, Candidate] | None = None
    failure: ModelError | None = None
    for number, candidate in enumerate(candidates):
        left = begun + budget - clock()
        if best is not None and left <= costs(candidate):
            continue
        try:
            engine = open_one(candidate)
            left = begun + budget - clock()
            if best is not None and left <= 0:
                continue
            seconds = _time(engine, card, clock() + left / (len(candidates) - number), clock)
        except ModelError as error:
            log.info("%s takes no part: %s", candidate, error)
            failure = failure or error
            continue
        speeds[str(candidate)] = round(_tile(card) ** 2 / 256**2 / seconds, 1)
        if best is None or seconds < best[0]:
            best = seconds, engine, candidate
    if best is None:
        assert failure is not None, "there was a candidate, and it was not opened, so it failed"
        raise failure
    return best[1], Measured(best[2], speeds, round(clock() - begun, 2), datetime.now(UTC).date().isoformat())


def _time(engine: Engine, card: Card, until: float, clock: Callable[[], float]) -> float:
    """Seconds for one tile: the shortest of a few rounds."""
    side = _tile(card)
    tile = np.random.default_rng(0).integers(0, 256, (1, card.bands, side, side)).astype(card.dtype)
    try:
        engine.predict(tile)  # the first call prepares
    except Exception as error:  # those of three libraries have no common root
        raise BundleInvalid(
            f"{engine.bundle.directory}: its card says that it takes {card.bands} bands of {card.dtype}, but "
            f"{engine.name} cannot run that: {first_line(error)}"
        ) from error
    shortest = float("inf")
    for _ in range(ROUNDS):
        begun = clock()
        engine.predict(tile)
        shortest = min(shortest, clock() - begun)
        if clock() > until:
            break
    return max(shortest, 1e-9)


def _tile(card: Card) -> int:
    return max(1, SIDE_PX // card.stride) * card.stride


def key_of(bundle: Bundle, threads: int, candidates: Sequence[Candidate]) -> str:
    """Names machine, bundle, versions, threads and candidates: what a measured speed depends on."""
    facts = {
        "machine": [platform.machine(), _processor(), usable_cpus(), _gpus()],
        "files": bundle.card.files,
        "versions": {name: _version(name) for name in PACKAGES},
        "threads": threads,
        "candidates": [str(candidate) for candidate in candidates],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def recall(directory: Path, key: str, candidates: Sequence[Candidate]) -> Measured | None:
    """What was measured before; None if nothing that still holds."""
    entries = _read(directory / FILE)
    if entries and key not in entries:
        log.info("%s: nothing measured for this machine, model and versions yet", directory / FILE)
    entry = entries.get(key)
    if entry is None:
        return None
    try:
        measured = Measured(
            Candidate(*map(str, entry["candidate"])),
            {str(name): None if speed is None else float(speed) for name, speed in entry["speeds"].items()},
            float(entry["seconds"]), str(entry["day"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        log.warning("%s: an entry is broken (%r), so it is measured again", directory / FILE, error)
        return None
    if measured.candidate not in candidates:
        log.warning("%s: names %s, which cannot be used here; it is measured again", directory / FILE,
                    measured.candidate)
        return None
    return measured


def remember(directory: Path, key: str, measured: Measured) -> None:
    """Keep an outcome. A memory that cannot be written costs two seconds next time, and is no reason to stop."""
    entries = dict(list(_read(directory / FILE).items())[-MAX_ENTRIES + 1 :])
    entries[key] = {**asdict(measured), "candidate": list(measured.candidate)}
    draft = directory / f"{FILE}.part"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(entries, indent=1) + "\n")
        draft.replace(directory / FILE)
    except OSError as error:
        log.warning("%s cannot be written (%s), so engines are measured again next time", directory / FILE,
                    error.strerror)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        entries = json.loads(path.read_text("utf-8"))
        if not isinstance(entries, dict):
            raise ValueError("not an object")
        return entries
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s is not readable (%s), so engines are measured again", path, error)
        return {}


def _processor() -> str:
    """Model and abilities of the CPU, as Linux tells them; else what the platform knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    told = {line.split(":", 1)[0].strip(): line.split(":", 1)[1].strip() for line in lines if ":" in line}
    return "; ".join(told.get(name, "") for name in ("model name", "flags", "Features"))


def _gpus() -> list[str]:
    return sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
