"""Results are kept of short texts only, whatever is done with them."""

from __future__ import annotations

import tracemalloc

from fhirhub.search.keeping import LONG, keeping
from fhirhub.search.parse import SearchParser
from searching import definitions, rows


def test_only_what_is_short_is_kept() -> None:
    called: list[object] = []

    @keeping(10, text=1)
    def joined(number: int, text: str | None, more: str | None = None) -> str:
        called.append((number, text, more))
        return f"{number}{text}{more}"

    short, long = "x" * LONG, "x" * (LONG + 1)
    for text, more, times in ((short, short, 1), (None, None, 1), (long, None, 3), (None, long, 3)):
        called.clear()
        assert {joined(1, text, more) for _ in range(3)} == {f"1{text}{more}"}
        assert len(called) == times


def test_megabytes_of_others_leave_nothing_behind() -> None:
    parser = SearchParser(definitions, b"secret")
    tracemalloc.start()
    for number in range(20):
        text = f"{number}" + "x" * 300_000
        for name in ("name", "name:nickname", "phonetic", "identifier", "identifier:text", "gender"):
            parser.parse("Patient", ((name, text),))
        parser.parse("Observation", (("value-quantity", f"2|http://unitsofmeasure.org|{text}"),))
        parser.parse("ValueSet", (("url", text),))
        coding = {"system": text, "code": text, "display": text}
        quantity = {"value": 2, "system": "http://unitsofmeasure.org", "code": text}
        rows({"resourceType": "Patient", "id": "a", "name": [{"family": text}]})
        rows({"resourceType": "ValueSet", "id": "a", "url": text})
        rows(
            {
                "resourceType": "Observation",
                "id": "a",
                "code": {"coding": [coding]},
                "valueQuantity": quantity,
            },
        )
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 3_000_000
