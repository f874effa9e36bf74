"""What share of an arm's claims people will accept, as a Beta distribution, learned from verdicts.

Before anything is known, a claim of confidence c is accepted with probability c. What verdicts say about that is kept
as offsets in log odds, at four levels, each the prior of the next: all claims of a detector and kind; of those, the
ones of a band of confidence, and the ones of an area; and the arm, which is both. An arm nobody has seen yet so starts
where its detector, its band and its area already are, and not at nothing.

    level's prior    Beta(w m, w (1 - m)), m = sigmoid(logit(mean confidence of its verdicts) + offset above)
    level's offset   logit(posterior mean) - logit(mean confidence)
    arm's prior      offset(band) + offset(area) - offset(kind), at the mean confidence of its verdicts, w = ARM_WEIGHT

A verdict counts less the older it is (half of it after `half_life`), and only for the model that made the claim: a new
model starts where its confidences are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from daemon.reviews.ranking.arms import Arm
from daemon.reviews.verdicts import Verdict

#: How much of an acceptance and of a refusal a verdict is. Undecided ones are no reward, and cost a mapper a look; yet
#: they say less against the claim than "not an issue". As refusals of a fraction they can only lower a rank: as rewards
#: of a fraction they would raise that of an arm which is worse than the fraction.
WORTH: Mapping[Verdict, tuple[float, float]] = {
    Verdict.FIXED: (1.0, 0.0),
    Verdict.ALREADY_FIXED: (1.0, 0.0),
    Verdict.FALSE_POSITIVE: (0.0, 1.0),
    Verdict.TOO_HARD: (0.0, 0.5),
    Verdict.SKIPPED: (0.0, 0.25),
}
#: Verdicts that a level's prior is worth.
LEVEL_WEIGHT = 40.0
#: The same of an arm's prior: what the levels above it say weighs more than a handful of its own verdicts.
ARM_WEIGHT = 200.0
#: Confidences are kept so far from 0 and 1.
MARGIN = 0.01


class Told(NamedTuple):
    """One verdict that the ranking learns from."""

    arm: Arm
    model: str
    confidence: float
    """Of the claim, when it was given."""
    verdict: Verdict
    at: datetime


class Belief(NamedTuple):
    """What is believed of an arm's claims: Beta(accepted, refused) is the share that people will accept of them, where
    the mean of their confidences is `confidence`.
    """

    accepted: float
    refused: float
    confidence: float


@dataclass(slots=True)
class Tally:
    """Verdicts of one group, each with its weight."""

    accepted: float = 0.0
    refused: float = 0.0
    confidence: float = 0.0

    def add(self, accepted: float, refused: float, confidence: float) -> None:
        self.accepted += accepted
        self.refused += refused
        self.confidence += confidence * (accepted + refused)

    @property
    def weight(self) -> float:
        return self.accepted + self.refused

    def posterior(self, offset: float, prior_weight: float) -> Belief:
        """With verdicts; `offset` is the prior's, in log odds."""
        confidence = clipped(self.confidence / self.weight)
        mean = sigmoid(logit(confidence) + offset)
        return Belief(prior_weight * mean + self.accepted, prior_weight * (1 - mean) + self.refused, confidence)

    def offset(self, above: float) -> float:
        """How far the group's acceptance lies from its confidences, in log odds."""
        if self.weight == 0:
            return above
        belief = self.posterior(above, LEVEL_WEIGHT)
        return logit(belief.accepted / (belief.accepted + belief.refused)) - logit(belief.confidence)


class Beliefs:
    """What is believed of every arm, for each model apart."""

    def __init__(self, verdicts: Iterable[Told], now: datetime, half_life: timedelta):
        """Learn. What was told later than `now` counts as told now."""
        self._tallies: dict[Hashable, Tally] = defaultdict(Tally)
        for told in verdicts:
            age = max((now - told.at) / half_life, 0.0)
            accepted, refused = (worth * 0.5**age for worth in WORTH[told.verdict])
            for group in _groups(told.model, told.arm):
                self._tallies[group].add(accepted, refused, told.confidence)

    def of(self, arm: Arm, model: str, confidence: float) -> Belief:
        """The belief of an arm whose candidates have this mean confidence."""
        of_kind, of_band, of_area, of_arm = (self._tallies.get(g, Tally()) for g in _groups(model, arm))
        kind = of_kind.offset(0.0)
        offset = of_band.offset(kind) + of_area.offset(kind) - kind
        if of_arm.weight > 0:
            return of_arm.posterior(offset, ARM_WEIGHT)
        mean = sigmoid(logit(confidence) + offset)
        return Belief(ARM_WEIGHT * mean, ARM_WEIGHT * (1 - mean), clipped(confidence))


def _groups(model: str, arm: Arm) -> tuple[Hashable, Hashable, Hashable, Hashable]:
    """Of what its verdicts tell: kind, band, area, arm."""
    kind = (model, arm.detector, arm.kind)
    return kind, (*kind, "band", arm.band), (*kind, "area", arm.area), (*kind, arm.band, arm.area)


def clipped(confidence: float) -> float:
    return min(max(confidence, MARGIN), 1 - MARGIN)


def logit(share: float) -> float:
    share = clipped(share)
    return math.log(share / (1 - share))


def sigmoid(odds: float) -> float:
    """The inverse of `logit`."""
    return 1 / (1 + math.exp(-odds))
