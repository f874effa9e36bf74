"""How feeds for people (RSS, GPX, KML) call an issue, and where they lead.

None of their links gives a verdict, as those of the Osmose server do: programs follow links by themselves, and a false
positive is for ever.
"""

from __future__ import annotations

from daemon.web.osmose.exports.letterhead import Letterhead
from daemon.web.osmose.feed import Issue
from daemon.web.osmose.shapes import element_of, kind_of, menu, subtitle_of, timestamp


def name_of(issue: Issue, head: Letterhead) -> str:
    return f"{menu(issue.discrepancy.detector)} - {subtitle_of(issue.discrepancy, head.kinds, head.languages)}"


def story_of(issue: Issue, head: Letterhead) -> str:
    kind, element = kind_of(issue.discrepancy, head.kinds), element_of(issue.discrepancy)
    about = f"; {element[0]} {element[1]}" if element else ""
    title, updated = kind.words(*head.languages).title, timestamp(issue.discrepancy.updated)
    return f"{kind.item}({kind.level})/{kind.number} {issue.uuid}: {title}{about}; {updated}"


def link_of(issue: Issue, head: Letterhead) -> str:
    return f"{head.base}/api/0.3/issue/{issue.uuid}"
