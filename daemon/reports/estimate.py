"""What share of the ground is on the map, estimated from what a detector claims and from how far it can be trusted.

In a cell the detector has claimed so many objects missing and so many mapped ones gone. Not every claim is right, and
not everything that is missing was seen: with precision p and recall r, of D claims about D p are right, and behind each
that was seen stand (1 - r) / r that were not. Precision and recall are themselves known only roughly: they differ from
place to place as the model's card shows, and people's verdicts say more of this place. So everything is drawn anew
`DRAWS` times:

    p, r      from the card: normal on the logit scale, as the measured places scatter
    p         then Beta, with the verdicts of people added to the card's word (worth `CARD_VERDICTS` verdicts)
    T         right claims: binomial(D, p)
    U         missing, and never seen: negative binomial(T + 1/2, r), what is left of T / r beyond T
    M         mapped and standing: mapped minus binomial(G, p of gone)
    share     M / (M + T + U)

Areas and lengths are counts times the mean size of a claim. A cell of which less than `LEAST_LOOKED` was looked at is
not judged; what is left of the others is taken to be like what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 2000
#: Part of a cell's tiles that must have been judged.
LEAST_LOOKED = 0.5
#: Verdicts of people that the card's precision counts as much as.
CARD_VERDICTS = 10.0
#: Standard deviation of a logit where the card names one place only, and the least that is believed of several.
ONE_PLACE, SEVERAL_PLACES = 0.5, 0.2


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far a detector can be trusted.

    Attributes:
        precisions, recalls: of each place where it was measured, from the model's card.
        verdicts: kind -> (right, wrong) claims, by the verdicts of people.
    """

    precisions: Sequence[float]
    recalls: Sequence[float]
    verdicts: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, metrics: Mapping[str, Any], verdicts: Mapping[str, tuple[int, int]]) -> Reliability:
        """From a card's metrics: every place with a precision and a recall, sums over places left out.

        Raises:
            ValueError: there is none.
        """
        found = list(_places(metrics))
        if not found:
            raise ValueError("the model's card has no place with a precision and a recall")
        return cls([p for p, _ in found], [r for _, r in found], verdicts)

    def draw_precision(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """Float64 [DRAWS]"""
        said = _draw(self.precisions, rng)
        right, wrong = self.verdicts.get(kind, (0, 0))
        return rng.beta(right + CARD_VERDICTS * said, wrong + CARD_VERDICTS * (1 - said))

    def draw_recall(self, rng: np.random.Generator) -> np.ndarray:
        """Float64 [DRAWS]"""
        return _draw(self.recalls, rng)


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known of one cell.

    Attributes:
        mapped: amount on the map; objects: how many.
        missing, gone: (claims, their amount).
        looked: part of the cell that was judged with imagery, 0..1.
    """

    mapped: float
    objects: int
    missing: tuple[int, float]
    gone: tuple[int, float]
    looked: float


def estimate(counted: Sequence[Counted], reliability: Reliability, rng: np.random.Generator) -> np.ndarray:
    """Drawn mapped shares, float64 [N, DRAWS]; NaN for cells of which too little was looked at, or that have nothing.

    All cells of a draw share the draw's precision and recall, so that sums over cells keep what they have in common.
    """
    right, recall = reliability.draw_precision("missing", rng), reliability.draw_recall(rng)
    wrong = reliability.draw_precision("gone", rng)
    typical = _typical(counted)
    result = np.full((len(counted), DRAWS), np.nan)
    for i, one in enumerate(counted):
        if one.looked < LEAST_LOOKED:
            continue
        standing, lacking = draw_amounts(one, right, recall, wrong, typical, rng)
        whole = standing + lacking
        with np.errstate(invalid="ignore"):
            result[i] = np.where(whole > 0, standing / whole, np.nan)
        if not one.mapped and not one.missing[0]:
            result[i] = np.nan
    return result


def draw_amounts(
    one: Counted, right: np.ndarray, recall: np.ndarray, wrong: np.ndarray, typical: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(mapped and standing, lacking), amounts float64 [DRAWS] each; what was not looked at is taken to be alike."""
    (missing, missing_amount), (gone, gone_amount) = one.missing, one.gone
    each = missing_amount / missing if missing else typical
    seen = rng.binomial(missing, right)
    unseen = rng.negative_binomial(seen + 0.5, recall)
    removed = rng.binomial(gone, wrong) * (gone_amount / gone if gone else 0.0)
    return np.maximum(one.mapped - removed / one.looked, 0.0), (seen + unseen) * each / one.looked


def whole_share(counted: Sequence[Counted], drawn: np.ndarray) -> tuple[float, float, float] | None:
    """(share, low, high) of all judged cells together, weighted by what is there; None where nothing is."""
    judged = np.isfinite(drawn).all(axis=1) if len(drawn) else np.zeros(0, bool)
    mapped = np.array([one.mapped for one in counted])[judged] if judged.any() else np.zeros(0)
    if not judged.any() or not mapped.sum() > 0:
        return None
    shares = np.maximum(drawn[judged], 1e-9)
    whole = (mapped[:, None] / shares).sum(axis=0)
    median, low, high = np.percentile(np.minimum(mapped.sum() / whole, 1.0), [50, 2.5, 97.5])
    return float(median), float(low), float(high)


def _typical(counted: Sequence[Counted]) -> float:
    """Amount of one object where a cell has no claim to measure it by."""
    number = sum(one.missing[0] for one in counted)
    if number:
        return sum(one.missing[1] for one in counted) / number
    objects = sum(one.objects for one in counted)
    return sum(one.mapped for one in counted) / objects if objects else 0.0


def _places(metrics: Mapping[str, Any], name: str = "") -> Iterable[tuple[float, float]]:
    precision, recall = metrics.get("precision"), metrics.get("recall")
    if isinstance(precision, float) and isinstance(recall, float):
        if "total" not in name:
            yield precision, recall
        return
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _places(value, key)


def _draw(values: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    logits = [math.log(v / (1 - v)) for v in (min(max(value, 0.01), 0.99) for value in values)]
    count = len(logits)
    spread = max(float(np.std(logits, ddof=1)), SEVERAL_PLACES) if count > 1 else ONE_PLACE
    drawn = rng.normal(float(np.mean(logits)), spread * math.sqrt(1 + 1 / count), DRAWS)
    return np.clip(1 / (1 + np.exp(-drawn)), 0.01, 0.99)
