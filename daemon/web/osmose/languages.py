"""In which language a client reads: `langs=` before Accept-Language, English where neither names one that there is."""

from __future__ import annotations

import math
import re

#: Languages that are looked at; clients name a handful.
MOST = 20
_CODE = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{2,4}))?(?:[-_][A-Za-z0-9]{1,8})*", re.ASCII)


def languages_of(langs: str | None, accept_language: str | None) -> tuple[str, ...]:
    """Codes as the catalogue has them ("de", "pt_BR"), the preferred first, each followed by its plain language.

    Args:
        langs: "fr" or "pt-BR,pt"; also with weights, as in the header.
        accept_language: the header, e.g. "de-AT,de;q=0.9,en;q=0.5" (RFC 9110, 12.5.4).
    """
    codes: dict[str, None] = {}
    for text in (langs, accept_language):
        weighted = [_weighted(part) for part in (text or "").split(",")[:MOST]]
        for code, weight in sorted(weighted, key=lambda pair: -pair[1]):
            match = _CODE.fullmatch(code)
            if match and weight > 0:
                plain, region = match[1].lower(), match[2]
                codes |= {f"{plain}_{region.upper()}": None, plain: None} if region else {plain: None}
    return tuple(codes)


def _weighted(part: str) -> tuple[str, float]:
    code, _, weight = part.strip().partition(";")
    name, _, value = weight.strip().partition("=")
    try:
        number = float(value) if name.strip() == "q" else 1.0
    except ValueError:
        number = 0.0
    return code.strip(), number if math.isfinite(number) else 0.0
