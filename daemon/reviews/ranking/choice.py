"""The choice of what is shown, with its lines in the log, in the transaction in which it is acted upon."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.reviews.ranking.arms import Arm, Candidate, areas_at, band_of
from daemon.reviews.ranking.posterior import Beliefs, Told
from daemon.reviews.ranking.sampling import DRAWS, Lottery
from daemon.reviews.verdicts import Verdict

#: Verdicts count half after so long, and nothing that could be noticed after ten times that.
HALF_LIFE = timedelta(days=180)


class Choice(NamedTuple):
    """One that was chosen."""

    key: str
    score: float
    """0..1: what the draw that chose expects of it."""
    probability: float
    """Of being chosen in this round, 0 < p <= 1; see `daemon.reviews.ranking.sampling`."""


def choose(
    cursor: Cursor, candidates: Sequence[Candidate], limit: int, now: datetime, rng: random.Random, *,
    rooms: Mapping[str, int] | None = None, half_life: timedelta = HALF_LIFE,
) -> list[Choice]:
    """Choose what is shown next, in the order of showing, and write down how likely each choice was.

    What is chosen and the log of it stand or fall with the caller's transaction. The same verdicts, candidates and
    state of `rng` choose the same.

    Args:
        limit: how many at most.
        rooms: how many at most in an area (`areas_at`); an area that is not named has room for all.
        half_life: after which a verdict counts half.
    """
    candidates = _with_passes(cursor, candidates)
    if not candidates or limit <= 0:
        return []
    lottery = Lottery(candidates, read_beliefs(cursor, now, half_life), limit, rooms or {})
    draw = lottery.draw(np.random.default_rng(rng.getrandbits(64)))
    choices = [
        Choice(candidates[i].key, score, probability)
        for i, score, probability in zip(draw.order, draw.scores, draw.probabilities, strict=True)
    ]
    if choices:
        _log(cursor, candidates, lottery, draw.order, choices, limit, now)
    return choices


def read_beliefs(cursor: Cursor, now: datetime, half_life: timedelta = HALF_LIFE) -> Beliefs:
    """What the verdicts so far say of every arm."""
    cursor.execute(query("verdicts_for_ranking"), {"since": now - 10 * half_life})
    rows = cursor.fetchall()
    areas = areas_at([row[3] for row in rows], [row[4] for row in rows])
    return Beliefs(
        (
            Told(Arm(detector, kind, band_of(confidence), area), model, confidence, Verdict(verdict), at)
            for (detector, kind, confidence, _, _, model, verdict, at), area in zip(rows, areas, strict=True)
        ),
        now, half_life,
    )


def _with_passes(cursor: Cursor, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each candidate once, in the order of keys, with how often it was passed on."""
    distinct = {candidate.key: candidate for candidate in candidates}
    cursor.execute(query("times_passed"), {"keys": list(distinct)})
    passes = dict(cursor.fetchall())
    return [replace(distinct[key], passed=passes.get(key, 0)) for key in sorted(distinct)]


def _log(
    cursor: Cursor, candidates: Sequence[Candidate], lottery: Lottery, order: Sequence[int],
    choices: Sequence[Choice], limit: int, now: datetime,
) -> None:
    surest = sorted(range(len(candidates)), key=lambda i: (-candidates[i].confidence, candidates[i].key))
    by_confidence = {i: place for place, i in enumerate(surest, 1)}
    cursor.execute(query("log_round"), {
        "at": now, "candidates": len(candidates), "places": min(limit, len(candidates)),
        "draws": 0 if lottery.has_room_for_all else DRAWS,
    })
    (number,) = cursor.fetchone() or (None,)
    chosen, arms = [candidates[i] for i in order], [lottery.places[i].arm for i in order]
    cursor.execute(query("log_choices"), {
        "round": number, "keys": [c.key for c in chosen], "detectors": [c.detector for c in chosen],
        "kinds": [c.kind for c in chosen], "bands": [arm.band for arm in arms], "areas": [arm.area for arm in arms],
        "models": [c.model for c in chosen], "confidences": [c.confidence for c in chosen],
        "scores": [c.score for c in choices], "probabilities": [c.probability for c in choices],
        "by_confidence": [by_confidence[i] for i in order],
    })
