"""Lists as RSS 2.0, for readers of news."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from email.utils import format_datetime

from daemon.publish.markup import attribute_of, encode_xml, text_of
from daemon.web.osmose.exports.letterhead import Letterhead
from daemon.web.osmose.exports.phrasing import link_of, name_of, story_of
from daemon.web.osmose.feed import Issue
from daemon.web.osmose.shapes import kind_of


def write_rss(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """RSS 2.0; the guid is the issue's uuid."""
    yield encode_xml(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom">\n<channel>\n'
        f'<atom:link href={attribute_of(f"{head.base}/api/0.3/issues.rss?{head.query}")} rel="self" '
        f'type="application/rss+xml"/>\n<title>{text_of(head.title)}</title>\n'
        f"<description>{text_of(head.query)}</description>\n<copyright>{text_of(head.credit)}</copyright>\n"
        f"<lastBuildDate>{format_datetime(head.generated.astimezone(UTC))}</lastBuildDate>\n"
        f"<link>{text_of(head.base)}/</link>\n"
    )
    for issue in issues:
        item = kind_of(issue.discrepancy, head.kinds).item
        yield encode_xml(
            f"<item><title>{text_of(name_of(issue, head))}</title>"
            f"<description>{text_of(story_of(issue, head))}</description>"
            f"<category>{item}</category><link>{text_of(link_of(issue, head))}</link>"
            f'<guid isPermaLink="false">{issue.uuid}</guid></item>\n'
        )
    yield b"</channel>\n</rss>\n"
