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
    #: Besides, each window by itself: for imagery whose light differs from date to date more than its ground.
    standardise: bool = False
    #: Width of the class "border", inside the outline of each building; pixels.
    border_px: int = Field(2, ge=1, le=8)
    limits: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Model:
        if len(self.mean) != self.bands or len(self.std) != self.bands:
            raise ValueError(f"mean and std need one number for each of the {self.bands} bands")
        if "border" in self.classes and self.classes != ("background", "building", "border"):
            raise ValueError('the class "border" is that of buildings: classes are background, building, border')
        if len(self.osm_bands) >= self.bands:
            raise ValueError(f"bands counts the osm_bands, too: there must be more than {len(self.osm_bands)}")
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
    #: Mixes each crop of a batch with another (`detectors.training.mixup`): the alpha of its Beta distribution. Usual
    #: values are 0.1..0.4; 0 mixes nothing.
    mixup: float = Field(0.0, ge=0, le=8)


class Osm(Section):
    """How imperfect a map the networks with `model.osm_bands` are shown; drawn anew for every crop."""

    #: Share of the buildings that it lacks.
    omission: float = Field(0.2, ge=0, le=1)
    #: Standard deviation of each building's shift along both axes, metres.
    jitter_m: float = Field(0.5, ge=0, le=20)
    #: Share of the crops without any map: their OSM bands have the value of model.mean, which is 0 to the network.
    dropout: float = Field(0.1, ge=0, le=1)


class Colour(Section):
    """Strengths of the photometric changes; 0 switches one off, chances are 0..1."""

    brightness: float = Field(0.25, ge=0, le=1)
    contrast: float = Field(0.35, ge=0, le=1)
    gamma: float = Field(0.35, ge=0, le=1)
    temperature: float = Field(0.15, ge=0, le=1)
    saturation: float = Field(0.5, ge=0, le=1)
    grey: float = Field(0.04, ge=0, le=1)
    #: Chance of pixels up to 2.4 times as wide, enlarged again.
    coarse: float = Field(0.0, ge=0, le=1)
    blur: float = Field(0.25, ge=0, le=1)
    noise: float = Field(0.3, ge=0, le=1)
    jpeg: float = Field(0.4, ge=0, le=1)
    shadow: float = Field(0.2, ge=0, le=1)


class Loss(Section):
    """Weights of the parts of the loss (`detectors.training.losses`), which are added up; 0 leaves a part out."""

    #: Cross-entropy weight of each class; with 0 the class is not learned at all.
    class_weights: tuple[float, ...] = (1.0, 1.0, 1.5)
    #: Further factor on pixels between buildings that nearly touch.
    contact: float = Field(2.0, ge=1)
    cross_entropy: float = Field(1.0, ge=0)
    dice: float = Field(0.5, ge=0)
    lovasz: float = Field(0.0, ge=0)
    focal: float = Field(0.0, ge=0)
    focal_gamma: float = Field(2.0, ge=0)
    #: Kervadec's loss; distances are pixels, so that a weight of 0.01 is much.
    boundary: float = Field(0.0, ge=0)
    #: w0 of the U-Net's weight map, added to the weight of pixels between objects, and how far it reaches.
    gap: float = Field(0.0, ge=0)
    gap_sigma_px: float = Field(5.0, gt=0, le=32)
    #: Chance that what is there is not in the labels: a background label is then weak evidence.
    omission: float = Field(0.0, ge=0, lt=1)
    #: Labels may lie so many pixels beside what they label.
    registration_px: int = Field(0, ge=0, le=16)

    @model_validator(mode="after")
    def _something(self) -> Loss:
        if not (self.cross_entropy or self.dice or self.lovasz or self.focal):
            raise ValueError("one of cross_entropy, dice, lovasz and focal must be more than 0; boundary alone teaches "
                             "nothing where there is no edge")
        return self


class Optimiser(Section):
    """AdamW (arXiv:1711.05101) with linear warm-up and a cosine to zero; the mean of late weights is what is kept."""

    steps: int = Field(ge=1)
    #: Crops a step and worker; several GPUs of one worker share them.
    batch: int = Field(8, ge=1)
    rate: float = Field(2e-3, gt=0)
    warmup: int = Field(40, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    ema: float = Field(0.99, ge=0, lt=1)
    #: Largest norm of all gradients together (arXiv:1211.5063); 0 does not clip.
    clip: float = Field(0.0, ge=0)
    #: Steps between two checkpoints.
    checkpoint_every: int = Field(100, ge=1)
    #: Steps between two looks at the held-out part, 0 for none; the best weights seen are kept.
    evaluate_every: int = Field(0, ge=0)
    #: Looks without a better F1 after which training stops; 0 goes on to the end.
    patience: int = Field(0, ge=0)


class Validation(Section):
    """What `optimiser.evaluate_every` looks at: a share of the training ground, or else the fold's held-out columns."""

    #: Every so manieth place as a whole where there are many, else the right end of each; never learned from.
    share: float = Field(0.0, ge=0, le=0.5)
    #: At most so many windows of the size of a crop, evenly out of all.
    windows: int = Field(64, ge=1)


class TrainingConfig(Section):
    """The whole recipe of a bundle."""

    seed: int = 1
    #: "amp": bfloat16 on the CPU, float16 on GPUs, wherever MXNet's automatic mixed precision can train the network.
    precision: Literal["f32", "amp"] = "f32"
    model: Model
    sources: tuple[Source, ...] = Field(min_length=1)
    split: Split = Split()
    crops: Crops = Crops()
    osm: Osm = Osm()
    colour: Colour = Colour()
    loss: Loss = Loss()
    optimiser: Optimiser
    validation: Validation = Validation()
    rendered: Rendered = Rendered()

    @model_validator(mode="after")
    def _agree(self) -> TrainingConfig:
        if len(self.loss.class_weights) != len(self.model.classes):
            raise ValueError(f"loss.class_weights needs one number for each of the {len(self.model.classes)} classes")
        if self.optimiser.patience and not self.optimiser.evaluate_every:
            raise ValueError("optimiser.patience needs optimiser.evaluate_every, the steps between two looks")
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
