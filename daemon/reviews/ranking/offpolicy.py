"""What other rules would have brought, estimated from what was chosen and what became of it.

A rule that would have shown a claim with probability q, where it was shown with probability p, counts its verdict with
the weight q / p (inverse propensity scoring); divided by the sum of the weights (self-normalised: Swaminathan and
Joachims, "The Self-Normalized Estimator for Counterfactual Learning", 2015) that is the accepted share it would have
had. The fewer choices carry the weight, the less it says: `effective` is Kish's effective sample size.

Rules can be judged by this only as far as what they would have shown had a chance to be shown; what they have in common
with the log decides. Probabilities are estimates themselves (see `sampling`), which biases a little where they are
small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.reviews.verdicts import Verdict

ACCEPTED = ("fixed", "already_fixed")


class Logged(NamedTuple):
    """A choice of the log."""

    round: int
    candidates: int
    places: int
    confidence: float
    probability: float
    by_confidence: int
    verdict: Verdict | None
    """What people said of it afterwards; None: nothing yet."""


class Estimate(NamedTuple):
    """Of a rule's accepted share among what has a verdict.

    Attributes:
        share: 0..1, None where the log says nothing about the rule.
        margin: half width of its 95 % interval.
        effective: so many choices of equal weight would say as much.
    """

    share: float | None
    margin: float
    effective: float


#: A rule's own probability of showing what was chosen.
Rule = Callable[[Logged], float]

RULES: Mapping[str, Rule] = {
    "as it was chosen": lambda one: one.probability,
    "by confidence": lambda one: float(one.by_confidence <= one.places),
    "at random": lambda one: min(one.places / one.candidates, 1.0),
}


def read_choices(cursor: Cursor) -> list[Logged]:
    """All choices of the log."""
    cursor.execute(query("logged_choices"))
    return [Logged(*rest, verdict and Verdict(verdict)) for *rest, verdict in cursor.fetchall()]


def estimate(choices: Sequence[Logged], rule: Rule) -> Estimate:
    """A rule's accepted share, from the choices that have a verdict."""
    judged = [one for one in choices if one.verdict is not None]
    weights = np.array([rule(one) / one.probability for one in judged])
    total = float(weights.sum())
    if total == 0:
        return Estimate(None, float("inf"), 0.0)
    rewards = np.array([float(one.verdict in ACCEPTED) for one in judged])
    share = float((weights * rewards).sum() / total)
    spread = float(np.sqrt(((weights * (rewards - share)) ** 2).sum()) / total)
    return Estimate(share, 1.96 * spread, total**2 / float((weights**2).sum()))
