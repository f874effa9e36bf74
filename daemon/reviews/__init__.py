"""Verdicts of people, and what they change."""

from daemon.reviews.intake import take_verdict
from daemon.reviews.verdicts import Review, Verdict, record_review

__all__ = ["Review", "Verdict", "record_review", "take_verdict"]
