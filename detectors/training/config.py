"""A training's configuration: TOML -> one frozen object; every problem is named with its key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detectors.datasets.source import Source
from detectors.errors import DatasetInvalid
from detectors.segmentation.networks import stride_of


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Section):
    """What is trained."""

    name: str = Field(pattern=r"^[a-z0-9_-]+$")
    #: One of `detectors.segmentation.networks`.
    network: Literal["unet", "fcn-resnet50", "lite0-unet", "fusion-unet"] = "unet"
    #: lite0-unet: start from weights learned on ImageNet.
    pretrained: bool = True
    classes: tuple[str, ...] = ("background", "building", "border")
    bands: int = Field(3, ge=1, le=64)
    dtype: Literal["uint8", "uint16"] = "uint8"
    #: The last bands are drawn from OSM, in this order; for "fusion-unet" only.
    osm_bands: tuple[Literal["building", "building_distance"], ...] = ()
    #: Channels of each level, from full resolution down; "lite0-unet" and "fcn-resnet50" have their own encoders.
    widths: tuple[int, ...] = Field((16, 32, 64, 128, 160), min_length=2, max_length=7)
    #: Ground sample distance the network is trained at, and the range it may be used in; metres a pixel.
    gsd_m: float = Field(0.2645, gt=0)
    gsd_range_m: tuple[float, float] = (0.2, 0.4)
    #: Normalisation in units of the input, one number a band.
    mean: tuple[float, ...] = (112.0, 112.0, 106.0)
    std: tuple[float, ...] = (56.0, 54.0, 54.0)
    #: Width of the class "border", inside the outline of each building; pixels.
    border_px: int = Field(2, ge=1, le=8)
    limits: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Model:
        if len(self.mean) != self.bands or len(self.std) != self.bands:
            raise ValueError(f"mean and std need one number for each of the {self.bands} bands")
        if "border" in self.classes and self.classes != ("background", "building", "border"):
            raise ValueError('the class "border" is that of buildings: classes are background, building, border')
        if bool(self.osm_bands) != (self.network == "fusion-unet"):
            raise ValueError('osm_bands belong to network = "fusion-unet", which needs them')
        low, high = self.gsd_range_m
        if not low <= self.gsd_m <= high:
            raise ValueError(f"gsd_m {self.gsd_m} is outside of gsd_range_m {low}..{high}")
        return self


class Rendered(Section):
    """Drawn towns (`detectors.training.rendered`) mixed into the training, none by default."""

    #: Share of the crops that come from them.
    share: float = Field(0.0, ge=0, le=0.9)
    towns: int = Field(0, ge=0)
    #: Seed of the first town; the others follow. The demo's towns must have other seeds.
    seed: int = 1000
    side: int = Field(768, ge=256)
    #: Whether models of single folds see them too; they are scored on real ground only.
    in_folds: bool = False


class Split(Section):
    """Spatial folds: fold k holds out the tile columns k*columns .. (k+1)*columns-1 of every training place."""

    folds: int = Field(3, ge=1)
    columns: int = Field(2, ge=1)


class Crops(Section):
    """Where and how the network looks during training."""

    size: int = Field(256, ge=16)
    #: Factor on the ground sample distance, drawn log-uniformly.
    scale: tuple[float, float] = (0.7, 1.5)
    #: Small rotation on top of quarter turns and flips, degrees either way.
    rotation: float = Field(12.0, ge=0, le=45)
    #: Share of the crops that are centred on a pixel of a class drawn evenly among those there are; the others are
    #: centred anywhere.
    balanced: float = Field(0.0, ge=0, le=1)


class Colour(Section):
    """Strengths of the photometric changes; 0 switches one off, chances are 0..1."""

    brightness: float = Field(0.25, ge=0, le=1)
    contrast: float = Field(0.35, ge=0, le=1)
    gamma: float = Field(0.35, ge=0, le=1)
    temperature: float = Field(0.15, ge=0, le=1)
    saturation: float = Field(0.5, ge=0, le=1)
    grey: float = Field(0.04, ge=0, le=1)
    blur: float = Field(0.25, ge=0, le=1)
    noise: float = Field(0.3, ge=0, le=1)
    jpeg: float = Field(0.4, ge=0, le=1)
    shadow: float = Field(0.2, ge=0, le=1)


class Loss(Section):
    """Weights of the parts of the loss."""

    #: Cross-entropy weight of each class.
    class_weights: tuple[float, ...] = (1.0, 1.0, 1.5)
    #: Further factor on pixels between buildings that nearly touch.
    contact: float = Field(2.0, ge=1)
    dice: float = Field(0.5, ge=0)


class Optimiser(Section):
    """AdamW (arXiv:1711.05101) with linear warm-up and a cosine to zero; the mean of late weights is what is kept."""

    steps: int = Field(ge=1)
    batch: int = Field(8, ge=1)
    rate: float = Field(2e-3, gt=0)
    warmup: int = Field(40, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    ema: float = Field(0.99, ge=0, lt=1)


class TrainingConfig(Section):
    """The whole recipe of a bundle."""

    seed: int = 1
    model: Model
    sources: tuple[Source, ...] = Field(min_length=1)
    split: Split = Split()
    crops: Crops = Crops()
    colour: Colour = Colour()
    loss: Loss = Loss()
    optimiser: Optimiser
    rendered: Rendered = Rendered()

    @model_validator(mode="after")
    def _agree(self) -> TrainingConfig:
        if len(self.loss.class_weights) != len(self.model.classes):
            raise ValueError(f"loss.class_weights needs one number for each of the {len(self.model.classes)} classes")
        if not any(source.use == "train" for source in self.sources):
            raise ValueError('sources: none has use = "train"')
        multiple = stride_of(self.model)
        if self.crops.size % multiple:
            raise ValueError(f"crops.size must be a multiple of {multiple} for network {self.model.network}")
        return self

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read a TOML file.

        Raises:
            DatasetInvalid: the file is unreadable or wrong; names every wrong key.
        """
        try:
            with Path(path).open("rb") as file:
                return cls.model_validate(tomllib.load(file))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise DatasetInvalid(f"training config {path} cannot be read: {error}") from error
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
            heading = f"training config {path}: {len(problems)} wrong"
            raise DatasetInvalid("\n  - ".join([heading, *problems])) from error
