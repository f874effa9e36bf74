"""Verdicts of people, and what they change."""

from daemon.reviews.intake import take_verdict
from daemon.reviews.verdicts import Review, Verdict, overturn, record_review, uphold

__all__ = ["Review", "Verdict", "overturn", "record_review", "take_verdict", "uphold"]
