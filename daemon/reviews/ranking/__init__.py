"""What people are shown first: learned from what they said of what they were shown before.

arms       what is learned about: claims of one detector, kind, band of confidence and area
posterior  verdicts -> what share of an arm's claims people will accept, as Beta distributions
sampling   one draw of those -> what is shown, and how likely each was to be
choice     the choice, with its line in the log, in the caller's transaction
offpolicy  what other rules would have brought, estimated from the log
simulation mappers and a world made from a seed, in which rules of choosing are compared
"""

from daemon.reviews.ranking.arms import Candidate, areas_at
from daemon.reviews.ranking.choice import Choice, choose

__all__ = ["Candidate", "Choice", "areas_at", "choose"]
