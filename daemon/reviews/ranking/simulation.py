"""Mappers and a world made from a seed, in which ways of choosing are compared.

A world has claims of two kinds in several towns. Each claim has the confidence that the detector says, and the chance
that it is right, which the detector does not know:

    logit(chance) = logit(confidence) + (offset of the kind) + (offset of the town)

The offsets are drawn once for a world, normal with mean 0 and a standard deviation of `miscalibration` each; where it
is 0, confidences are what they say. Each day the rule chooses `daily` claims among those that were not shown yet;
mappers answer the same day: a few skip or find it too hard, one in fifty decides wrongly, the others say what is right.
What a rule brought is the accepted part of all that it showed. What a mapper would say of a claim is the same whichever
rule shows it, so that rules are compared world by world.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from daemon.reviews.ranking.arms import AREA_ZOOM, Arm, Candidate, places_of
from daemon.reviews.ranking.posterior import Beliefs, Told, logit, sigmoid
from daemon.reviews.ranking.sampling import Lottery
from daemon.reviews.verdicts import Verdict

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
KINDS = ("missing", "misplaced")
MODEL = "simulated@0"
#: Where the towns lie, in degrees; the next is a tile of the areas' zoom further east.
LON, LAT = 85.10, 27.60
TILE_DEGREES = 360 / (1 << AREA_ZOOM)
#: How often a mapper passes a claim on, and how often one decides wrongly.
SKIPS, TOO_HARD, WRONG = 0.08, 0.04, 0.02


class Setting(NamedTuple):
    """Of a world."""

    miscalibration: float = 1.0
    """Standard deviation of the offsets, in log odds."""
    towns: int = 8
    claims: int = 2400
    days: int = 30
    daily: int = 20
    half_life: timedelta = timedelta(days=180)


@dataclass(slots=True)
class World:
    """The claims; what is right, which nobody knows; and what mappers would answer, and answered.

    Attributes:
        chances: of each claim to be right.
        answers: what a mapper would say of each.
        left: indexes of those that were not shown yet.
    """

    candidates: list[Candidate]
    arms: list[Arm]
    chances: list[float]
    answers: list[Verdict]
    left: list[int]
    told: list[Told] = field(default_factory=list)

    @classmethod
    def of(cls, setting: Setting, seed: int) -> World:
        rng = np.random.default_rng(seed)
        of_kind = dict(zip(KINDS, rng.normal(0, setting.miscalibration, len(KINDS)).tolist(), strict=True))
        of_town = rng.normal(0, setting.miscalibration, setting.towns).tolist()
        candidates, chances, answers = [], [], []
        for i in range(setting.claims):
            kind, town = KINDS[int(rng.integers(len(KINDS)))], int(rng.integers(setting.towns))
            confidence = float(rng.beta(5, 3))
            lon, lat = LON + (town + 0.1 + 0.8 * rng.random()) * TILE_DEGREES, LAT + 0.04 * rng.random()
            candidates.append(Candidate(f"sim-{i:07d}", "building", kind, confidence, lon, lat, MODEL))
            chances.append(sigmoid(logit(confidence) + of_kind[kind] + of_town[town]))
            answers.append(_answer(chances[-1], rng))
        arms = [place.arm for place in places_of(candidates)]
        return cls(candidates, arms, chances, answers, list(range(setting.claims)))

    def show(self, chosen: Sequence[int], now: datetime) -> int:
        """Let mappers answer; how many they accept."""
        for i in chosen:
            self.told.append(Told(self.arms[i], MODEL, self.candidates[i].confidence, self.answers[i], now))
        gone = set(chosen)
        self.left = [i for i in self.left if i not in gone]
        return sum(self.answers[i] is Verdict.FIXED for i in chosen)


Rule = Callable[[World, Setting, datetime, np.random.Generator], list[int]]


def by_confidence(world: World, setting: Setting, now: datetime, rng: np.random.Generator) -> list[int]:
    return sorted(world.left, key=lambda i: -world.candidates[i].confidence)[: setting.daily]


def by_ranking(world: World, setting: Setting, now: datetime, rng: np.random.Generator) -> list[int]:
    """What the daemon does."""
    beliefs = Beliefs(world.told, now, setting.half_life)
    drawn = Lottery([world.candidates[i] for i in world.left], beliefs, setting.daily, {}).draw(rng, draws=1)
    return [world.left[i] for i in drawn.order]


def by_oracle(world: World, setting: Setting, now: datetime, rng: np.random.Generator) -> list[int]:
    """What could be done by somebody who knows each claim's chance."""
    return sorted(world.left, key=lambda i: -world.chances[i])[: setting.daily]


RULES: Mapping[str, Rule] = {"confidence": by_confidence, "ranking": by_ranking, "oracle": by_oracle}


def accepted_share(rule: Rule, setting: Setting, seed: int) -> float:
    """Of all that a rule shows in a world, the part that mappers accept."""
    world, rng = World.of(setting, seed), np.random.default_rng([seed, 1])
    accepted = sum(
        world.show(rule(world, setting, START + day * DAY, rng), START + day * DAY) for day in range(setting.days)
    )
    return accepted / (setting.claims - len(world.left))


class Mean(NamedTuple):
    """Of several worlds, with the half width of its 95 % interval (normal)."""

    value: float
    margin: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        count = len(values)
        margin = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else math.inf
        return cls(float(np.mean(values)), margin)

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}.3f} ± {self.margin:.3f}"

    def __str__(self) -> str:
        return format(self)


class Comparison(NamedTuple):
    """Shares that the rules brought, and how much more the ranking brought than the order of confidence, each a mean
    over the same worlds."""

    shares: Mapping[str, Mean]
    gain: Mean


def compare(setting: Setting, seeds: Sequence[int], advance: Callable[[int], None] = lambda done: None) -> Comparison:
    """All rules in the worlds of these seeds; `advance` is told how many worlds are done."""
    shares: dict[str, list[float]] = {name: [] for name in RULES}
    for done, seed in enumerate(seeds, 1):
        for name, rule in RULES.items():
            shares[name].append(accepted_share(rule, setting, seed))
        advance(done)
    gains = [ours - theirs for ours, theirs in zip(shares["ranking"], shares["confidence"], strict=True)]
    return Comparison({name: Mean.of(values) for name, values in shares.items()}, Mean.of(gains))


def _answer(chance: float, rng: np.random.Generator) -> Verdict:
    draw, is_right, is_wrong = rng.random(), rng.random() < chance, rng.random() < WRONG
    if draw < SKIPS:
        return Verdict.SKIPPED
    if draw < SKIPS + TOO_HARD:
        return Verdict.TOO_HARD
    return Verdict.FIXED if is_right != is_wrong else Verdict.FALSE_POSITIVE
