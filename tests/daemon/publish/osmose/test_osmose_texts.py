"""The line about one issue: numbers and dates as each language writes them."""

from __future__ import annotations

import pytest
from claims import NOW, gone, house, misplaced, missing

from daemon.discrepancies.model import Discrepancy, State
from daemon.publish.osmose.subtitle import phrases, subtitle, subtitles
from detectors.registry import registry


def discrepancy(claim) -> Discrepancy:
    point = claim.geometry.representative_point()
    return Discrepancy(
        "bld-0123456789abcdef", claim.detector, claim.kind, State.PUBLISHED, None, claim.osm, claim.confidence,
        claim.shift_m, claim.geometry, (point.x, point.y), claim.evidence, NOW, NOW, NOW, None, None, 1, 0,
    )


HALL = discrepancy(missing(house(50, 50, 90, 130), 0.93, imagery="aerial", acquired="2025-06-04"))
SHIFTED = discrepancy(misplaced(house(50, 50), "way/1", (6.0, -1.5), 0.5))


@pytest.mark.parametrize(("language", "hall", "shifted"), [
    ("en", "Building footprint of about 11,67", "Outline shifted 6.2 m, confidence 0.50"),
    ("fr", "Emprise de bâtiment d’environ 11\u202f67", "Contour décalé de 6,2 m, confiance 0,50"),
    ("de", "Gebäudegrundriss von etwa 11.67", "Umriss um 6,2 m verschoben, Konfidenz 0,50"),
    ("es", "Planta de edificio de unos 11\u202f67", "Contorno desplazado 6,2 m, confianza 0,50"),
])
def test_numbers_are_written_as_the_language_writes_them(language, hall, shifted):
    kinds = registry().kinds()
    assert subtitle(HALL, kinds["building", "missing"], language).startswith(hall)
    assert subtitle(SHIFTED, kinds["building", "misplaced"], language) == shifted


@pytest.mark.parametrize(("language", "tail"), [
    ("en", "m², imagery aerial of 2025-06-04, confidence 0.93"),
    ("fr", "m², imagerie aerial du 04/06/2025, confiance 0,93"),
    ("de", "m², Luftbild aerial vom 04.06.2025, Konfidenz 0,93"),
    ("es", "m², imagen aerial del 04/06/2025, confianza 0,93"),
])
def test_dates_are_written_as_the_language_writes_them(language, tail):
    assert subtitle(HALL, registry().kinds()["building", "missing"], language).endswith(tail)


def test_whoever_offers_a_language_is_heard_in_it_and_english_is_always_there():
    kind = registry().kinds()["building", "missing"]
    assert list(subtitles(HALL, kind)) == ["en", "fr", "de", "es"] and phrases().keys() == kind.wording.keys()
    assert subtitle(HALL, kind, "it") == subtitle(HALL, kind, "en")


def test_what_nothing_is_known_of_is_still_told():
    assert subtitle(HALL).startswith("Outline of about 11,6")
    without_shift = discrepancy(gone(house(50, 50), "way/1", 0.5, acquired="last summer", imagery=float("nan")))
    kind = registry().kinds()["building", "misplaced"]
    assert subtitle(without_shift, kind, "de") == "Umriss von etwa 100 m², Luftbild vom last summer, Konfidenz 0,50"
