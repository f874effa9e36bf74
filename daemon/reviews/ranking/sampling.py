"""Thompson sampling: draw once what share of each arm is accepted, and show what then looks best.

A candidate's score is its confidence, moved in log odds as the draw moved its arm; so within an arm the order is that
of the confidences. A part of the score of the best in its street is mixed in (`PULL`), so that a street fills before
the next begins. The places go to the best scores, as far as each area has room.

The probability of a candidate to be chosen is a Monte Carlo estimate over `DRAWS` draws, of which the one that decided
is the first: (draws that chose it) / DRAWS, so never 0 for what was chosen, with a standard error of
sqrt(p (1 - p) / DRAWS), 0.022 at most. Where there is room for everybody it is 1, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.reviews.ranking.arms import Candidate, places_of
from daemon.reviews.ranking.posterior import MARGIN, Beliefs, logit

#: Draws that probabilities are estimated from.
DRAWS = 512
#: Draws that are looked at together; bounds the memory to some tens of megabytes for ten thousand candidates.
AT_ONCE = 32
#: Part of a candidate's score that is that of the best in its street.
PULL = 0.2
#: Log odds that a candidate loses each time somebody passes it on, as too hard or skipped.
PASSED = 0.7


@dataclass(frozen=True, slots=True)
class Draw:
    """What one draw chose.

    Attributes:
        order: indexes of the candidates that were chosen, street by street, the best of each first.
        scores: of those, 0..1.
        probabilities: of those, of being chosen, 0 < p <= 1.
    """

    order: list[int]
    scores: list[float]
    probabilities: list[float]


class Lottery:
    """Candidates, and how a draw of the beliefs chooses among them.

    Args:
        limit: places at most.
        rooms: places at most in each area; an area that is not named has as many as there are.

    Attributes:
        places: the arm and the street of each candidate.
    """

    def __init__(self, candidates: Sequence[Candidate], beliefs: Beliefs, limit: int, rooms: Mapping[str, int]):
        self._limit = max(limit, 0)
        self.places = places_of(candidates)
        arms = [(place.arm, candidate.model) for place, candidate in zip(self.places, candidates, strict=True)]
        known = {arm: i for i, arm in enumerate(dict.fromkeys(arms))}
        self._arm = np.array([known[arm] for arm in arms], dtype=np.intp)
        confidence = np.array([candidate.confidence for candidate in candidates], dtype=np.float64)
        means = np.bincount(self._arm, confidence) / np.bincount(self._arm)
        believed = [beliefs.of(arm, model, float(mean)) for (arm, model), mean in zip(known, means, strict=True)]
        self._accepted = np.array([belief.accepted for belief in believed])
        self._refused = np.array([belief.refused for belief in believed])
        self._base = np.array([logit(belief.confidence) for belief in believed])
        passed = np.array([candidate.passed for candidate in candidates])
        kept = np.clip(confidence, MARGIN, 1 - MARGIN)
        self._odds = np.log(kept / (1 - kept)) - PASSED * passed
        streets = {street: i for i, street in enumerate(dict.fromkeys(place.street for place in self.places))}
        self._street = np.array([streets[place.street] for place in self.places], dtype=np.intp)
        self._by_street = np.argsort(self._street, kind="stable")
        self._street_starts = np.searchsorted(self._street[self._by_street], np.arange(len(streets)))
        areas = np.array([place.arm.area for place in self.places])
        self._closed = np.isin(areas, [area for area, room in rooms.items() if room <= 0])
        members = {area: np.flatnonzero(areas == area) for area, room in rooms.items() if room > 0}
        self._tight = [(those, rooms[area]) for area, those in members.items() if len(those) > rooms[area]]

    @property
    def has_room_for_all(self) -> bool:
        return not self._tight and len(self._odds) - int(self._closed.sum()) <= self._limit

    def draw(self, rng: np.random.Generator, draws: int = DRAWS) -> Draw:
        """Draw once and choose; with the other draws, estimate how likely each choice was."""
        if self._limit == 0 or self._closed.all():
            return Draw([], [], [])
        scores = self._scores(rng, 1)[0]
        chosen = self._choose(scores)
        if self.has_room_for_all:
            probabilities = np.ones(len(scores))
        else:
            counts = np.zeros(len(scores))
            counts[chosen] += 1
            for first in range(1, draws, AT_ONCE):
                for row in self._scores(rng, min(AT_ONCE, draws - first)):
                    counts[self._choose(row)] += 1
            probabilities = counts / draws
        best = np.full(int(self._street.max()) + 1, -1.0)
        np.maximum.at(best, self._street[chosen], scores[chosen])
        order = chosen[np.lexsort((chosen, -scores[chosen], self._street[chosen], -best[self._street[chosen]]))]
        return Draw(order.tolist(), scores[order].tolist(), probabilities[order].tolist())

    def _scores(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Scores [draws, candidates] in 0..1, each row under one draw of every arm's share."""
        share = np.clip(rng.beta(self._accepted, self._refused, (draws, len(self._base))), 1e-9, 1 - 1e-9)
        moved = np.log(share / (1 - share)) - self._base
        own = 1 / (1 + np.exp(-(self._odds + moved[:, self._arm])))
        best = np.maximum.reduceat(own[:, self._by_street], self._street_starts, axis=1)
        return (1 - PULL) * own + PULL * best[:, self._street]

    def _choose(self, scores: np.ndarray) -> np.ndarray:
        """Indexes [chosen] of the best, as far as there is room."""
        scores = np.where(self._closed, -1.0, scores)
        for members, room in self._tight:
            scores[members[np.argsort(-scores[members], kind="stable")[room:]]] = -1.0
        best = np.argsort(-scores, kind="stable")[: self._limit]
        return best[scores[best] >= 0]
