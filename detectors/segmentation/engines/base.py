"""The interface of all engines, and the checks that none of them has to repeat."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from detectors.errors import BundleInvalid, BundleMismatch, EngineUnavailable
from detectors.segmentation.bundle import CARD, ONNX_INT8, PRECISIONS, Bundle, Card
from detectors.segmentation.engines.cpu import multiplies_bytes_exactly

#: Steps of confidence: 255 is certainty.
STEPS = 255


class Engine(ABC):
    """Runs one bundle. An engine belongs to one thread.

    Attributes:
        name: "mxnet", "onnx" or "openvino".
        precision: "f32", "bf16" or "int8".
        device: where and how it runs, for logs.
    """

    name: str
    device: str
    precision: str = "f32"

    def __init__(self, bundle: Bundle):
        self.bundle = bundle

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Class probabilities.

        Args:
            batch: pixels of the card's type [N, C, H, W]; H and W multiples of the card's stride.

        Returns:
            float16 [N, K, H, W] in 0..1, the caller's own.

        Raises:
            BundleMismatch: another type, other bands or other sides than the bundle takes.
        """
        return self.run(self._checked(batch)).astype(np.float16, copy=False)

    def classify(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest class of each pixel, and its probability.

        Args:
            batch: as for `predict`.

        Returns:
            (classes uint8 [N, H, W]: indices into the card's classes,
            confidence uint8 [N, H, W]: probability in steps of 1/255).

        Raises:
            BundleMismatch: as `predict`.
        """
        return self.run_classes(self._checked(batch))

    @abstractmethod
    def run(self, batch: np.ndarray) -> np.ndarray:
        """`predict` without checks: float16 or float32 [N, K, H, W]."""

    def run_classes(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`classify` without checks. Engines that can do so have it in their graph, which is quicker than this."""
        planes = self.run(batch)
        confidence = np.rint(planes.max(axis=1).astype(np.float32) * STEPS).astype(np.uint8)
        return planes.argmax(axis=1).astype(np.uint8), confidence

    def _checked(self, batch: np.ndarray) -> np.ndarray:
        card = self.bundle.card
        if batch.dtype != card.dtype or batch.ndim != 4:
            raise BundleMismatch(f"engine needs {card.dtype} [N, C, H, W], not {batch.dtype} {list(batch.shape)}")
        if batch.shape[1] != card.bands:
            raise BundleMismatch(
                f"model {self.bundle.identity} takes {card.bands} bands, the imagery has {batch.shape[1]}"
            )
        if batch.shape[2] % card.stride or batch.shape[3] % card.stride or 0 in batch.shape:
            raise BundleMismatch(f"sides must be multiples of {card.stride} and none may be 0: {list(batch.shape)}")
        return np.ascontiguousarray(batch)


def allowed_precisions(card: Card) -> tuple[str, ...]:
    """The precisions that a bundle may be run in, the most exact first.

    What was measured counts. A card that says nothing of a precision (format 1 had no such figures) allows float32 and
    the one that it names.
    """
    return tuple(
        precision for precision in PRECISIONS
        if card.precisions.get(precision, {"allowed": precision in ("f32", card.precision)}).get("allowed") is True
    )


def precisions_here(card: Card) -> tuple[str, ...]:
    """Those of the allowed precisions that are as good on this machine as where they were measured."""
    return tuple(p for p in allowed_precisions(card) if p != "int8" or multiplies_bytes_exactly())


def default_precision(card: Card) -> str:
    """The card's own; on a machine where that would give other answers than it gave when it was measured, the fastest
    of the others that it allows."""
    here = precisions_here(card)
    return card.precision if card.precision in here or not here else here[-1]


def require_precision(bundle: Bundle, precision: str) -> None:
    """Whether a bundle may be run in a precision.

    Raises:
        EngineUnavailable: there is no such precision.
        BundleMismatch: the card does not allow it.
    """
    if precision not in PRECISIONS:
        raise EngineUnavailable(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    allowed = allowed_precisions(bundle.card)
    if precision in allowed:
        return
    record = bundle.card.precisions.get(precision, {})
    lost = record.get("points_lost")
    reason = f"it loses {lost} points of F1" if lost is not None else record.get("note", "it was never measured")
    instead = " or ".join(allowed) or "another model"
    raise BundleMismatch(f"model {bundle.identity} may not be run in {precision}: {reason}; use {instead}")


def require_threads(threads: int) -> None:
    """
    Raises:
        EngineUnavailable: a number of threads that cannot be.
    """
    if threads < 0:
        raise EngineUnavailable(f"{threads} threads cannot be; give 1 or more, or 0 for all usable cores")


def int8_path(bundle: Bundle):
    """Where the quantised network lies.

    Raises:
        BundleInvalid: the bundle has none, whatever its card allows.
    """
    if ONNX_INT8 not in bundle.card.files or not bundle.path(ONNX_INT8).is_file():
        raise BundleInvalid(
            f"{bundle.directory / CARD}: int8 needs {ONNX_INT8}, which the bundle does not have; make it with "
            "`mapgap train`, or use another precision"
        )
    return bundle.path(ONNX_INT8)


def first_line(error: BaseException) -> str:
    """The gist of an engine's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
