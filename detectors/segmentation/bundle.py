"""A model bundle: a directory with the trained network in two forms, and a card that says what it is.

    card.json               what the network sees and gives, how it was made, what it scored, sha256 of the other files
    model-symbol.json       MXNet graph
    model-0000.params       MXNet weights
    model.onnx              the same network for other engines
    model-int8.onnx         where it was made: the same, quantised to 8 bits

All forms take uint8 or uint16 [N, C, H, W] (MXNet, which has no uint16: int32) with sides that are multiples of
`stride`, and give probabilities float32 [N, K, H, W]. Nothing of a bundle is trusted before its checksum has been
compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from detectors.errors import BundleInvalid, BundleMismatch

#: Version of the card's layout that this program writes, and the newest that it reads.
FORMAT = 2
CARD, SYMBOL, PARAMS, ONNX = "card.json", "model-symbol.json", "model-0000.params", "model.onnx"
ONNX_INT8 = "model-int8.onnx"
#: What an engine may compute in, the most exact first.
PRECISIONS = ("f32", "bf16", "int8")
#: Directory of the bundles that come with the program.
SHIPPED = Path(__file__).resolve().parent.parent / "bundles"
#: A card or model file larger than this is not read.
MAX_CARD_BYTES, MAX_FILE_BYTES = 1024**2, 2 * 1024**3


class Card(BaseModel):
    """card.json.

    Attributes:
        format: version of this layout.
        bands, classes: axes of input and output.
        dtype: type of the input's pixels, "uint8" or "uint16".
        osm_bands: the last bands of the input are drawn from OSM and called so. A network that sees the map may not
            judge it: such a bundle is refused wherever map and ground are compared.
        stride: sides of the input must be multiples of it.
        gsd_m: ground sample distance of the training; trained_range_m: of all that it was shown (empty: all of
            gsd_range_m); gsd_range_m: where the model may be used, beyond the former by resampling. Metres a pixel.
        mean, std: normalisation a band in units of the input; done inside the network, here for the record
            and for filling no-data.
        standardise: each picture by itself is brought to mean 0 and deviation 1 besides, so that ground without
            imagery must not count.
        footprint: weight of each class whose probabilities add up to that of "inside a building's outline".
        interior: the class that touching buildings do not share: its components are single buildings.
        border_px: width of the class "border" at gsd_m, inside the outline.
        precision: what engines that can choose compute in: "f32", "bf16" or "int8".
        precisions: what was measured of each: {"f32": {"f1", "allowed", ...}}; a precision that is not allowed is
            refused.
        thresholds: by class, by target precision ("0.8", "0.9", "0.95"): {"threshold", "precision", "recall"}.
        files: sha256 of every file of the bundle but the card.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
    created: str = ""
    bands: int = Field(ge=1, le=64)
    dtype: Literal["uint8", "uint16"] = "uint8"
    osm_bands: tuple[str, ...] = ()
    classes: tuple[str, ...] = Field(min_length=2, max_length=64)
    stride: int = Field(16, ge=1, le=256)
    gsd_m: float = Field(gt=0)
    gsd_range_m: tuple[float, float]
    trained_range_m: tuple[float, float] | tuple[()] = ()
    mean: tuple[float, ...]
    std: tuple[float, ...]
    standardise: bool = False
    footprint: dict[str, float] = Field(default_factory=dict)
    interior: str = ""
    border_px: int = 0
    precision: Literal["f32", "bf16", "int8"] = "f32"
    precisions: dict[str, dict[str, Any]] = Field(default_factory=dict)
    thresholds: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    architecture: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    data: tuple[dict[str, Any], ...] = ()
    metrics: dict[str, Any] = Field(default_factory=dict)
    limits: tuple[str, ...] = ()
    files: dict[str, Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]]

    @model_validator(mode="after")
    def _agrees(self) -> Card:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes are not unique")
        if len(self.mean) != self.bands or len(self.std) != self.bands:
            raise ValueError(f"mean and std need one number for each of the {self.bands} bands")
        unknown = set(self.footprint) - set(self.classes) | ({self.interior} - {"", *self.classes})
        if unknown:
            raise ValueError(f"footprint or interior names unknown classes: {', '.join(sorted(unknown))}")
        low, high = self.gsd_range_m
        if not 0 < low <= high:
            raise ValueError("gsd_range_m must be [low, high] with 0 < low <= high")
        missing = {SYMBOL, PARAMS, ONNX} - set(self.files)
        if missing:
            raise ValueError(f"files lacks the sha256 of {', '.join(sorted(missing))}")
        return self


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle, ready for an engine.

    Attributes:
        card: what card.json says.
        directory: where its files are.
        identity: "name@" + first 12 digits of the sha256 of the weights; goes into the evidence of claims.
    """

    card: Card
    directory: Path
    identity: str

    @classmethod
    def load(cls, name_or_dir: str | Path) -> Bundle:
        """Open a shipped bundle by name, or any bundle by directory, and verify every file.

        Raises:
            BundleInvalid: no such bundle, files missing or changed, card unreadable or of a newer format.
        """
        directory = _locate(name_or_dir)
        card = _read_card(directory / CARD)
        for name, expected in card.files.items():
            _verify(directory, name, expected)
        return cls(card, directory, f"{card.name}@{card.files[PARAMS][:12]}")

    @property
    def background(self) -> int:
        """Index of the class that invalid pixels get."""
        return self.card.classes.index("background") if "background" in self.card.classes else 0

    def path(self, name: str) -> Path:
        return self.directory / name

    def footprint_of(self, planes: np.ndarray) -> np.ndarray:
        """Probability of lying inside a building's outline: [..., K, H, W] of any float -> float32 [..., H, W].

        Raises:
            BundleMismatch: the card has no footprint rule.
        """
        if not self.card.footprint:
            raise BundleMismatch(f"model {self.identity} has no footprint rule; it does not segment buildings")
        rule = self.footprint_rule
        return sum(weight * planes[..., k, :, :].astype(np.float32) for k, weight in rule.items())

    @property
    def footprint_rule(self) -> Mapping[int, float]:
        """Index of a class -> its weight in the footprint probability."""
        return MappingProxyType({self.card.classes.index(name): weight for name, weight in self.card.footprint.items()})

    def with_card(self, **changes: Any) -> Bundle:
        """The same files under a card with other statements, written to disk."""
        card = Card.model_validate({**self.card.model_dump(), **changes})
        write_card(card, self.directory)
        return Bundle(card, self.directory, self.identity)


def write_card(card: Card, directory: Path) -> None:
    """Write card.json, whole or not at all."""
    target = directory / CARD
    draft = target.with_suffix(".part")
    draft.write_text(json.dumps(card.model_dump(), indent=2, ensure_ascii=False) + "\n")
    draft.replace(target)


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locate(name_or_dir: str | Path) -> Path:
    text = str(name_or_dir)
    if text and "/" not in text and "\\" not in text and text not in (".", "..") and (SHIPPED / text / CARD).is_file():
        return SHIPPED / text
    directory = Path(name_or_dir).expanduser()
    if text and (directory / CARD).is_file():
        return directory
    shipped = sorted(p.parent.name for p in SHIPPED.glob(f"*/{CARD}"))
    raise BundleInvalid(
        f"model {text!r} is neither a directory with a {CARD} nor a shipped bundle "
        f"({', '.join(shipped) or 'none is shipped'}); train one with `mapgap train`"
    )


def _read_card(path: Path) -> Card:
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise BundleInvalid(f"{path}: {path.stat().st_size} bytes; a card has {MAX_CARD_BYTES} at most")
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleInvalid(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BundleInvalid(f"{path}: a card is a JSON object")
    version = raw.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise BundleInvalid(
            f"{path}: format {version}, but this mapgap reads up to {FORMAT}; upgrade mapgap or use an older bundle"
        )
    try:
        return Card.model_validate(raw)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors()]
        raise BundleInvalid("\n  - ".join([f"{path}: {len(problems)} wrong", *problems])) from error


def _verify(directory: Path, name: str, expected: str) -> None:
    """A file of the bundle lies directly in its directory and is what the card says."""
    if not name or Path(name).name != name or "\\" in name or name in (".", "..", CARD):
        raise BundleInvalid(f"{directory / CARD}: files names {name!r}; only plain names beside the card are allowed")
    path = directory / name
    if path.is_symlink() and path.resolve().parent != directory.resolve():
        raise BundleInvalid(f"{path}: a link that leaves the bundle; copy the file into it")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BundleInvalid(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        found = sha256_of(path)
    except OSError as error:
        raise BundleInvalid(f"{path}: not readable: {error.strerror}; fetch the bundle again") from error
    if found != expected:
        raise BundleInvalid(
            f"{path}: sha256 {found[:12]}... is not the card's {expected[:12]}...; the file was changed or cut off: "
            "fetch the bundle again"
        )
