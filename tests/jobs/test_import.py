"""``fhirhub import``: every form of input, in whatever order, more than once, with what is wrong in the error file."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import os
import subprocess
import sys
import uuid
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fhirhub.cli import import_
from fhirhub.errors import FhirError
from fhirhub.jobs.load.coordinator import Import, ImportFailed, Summary
from fhirhub.jobs.load.sources import discover
from fhirhub.settings import Settings

SYNTHEA = Path(__file__).resolve().parents[3] / "shared" / "data" / "synthea"
IDS = "http://example.org/ids"


def take_in(dsn: str, *paths: Path, errors: Path, again: bool = False, dry_run: bool = False) -> Summary:
    settings = Settings(database_url=dsn, no_auth=True)
    return import_.take_in(
        settings, discover(paths), workers=2, dry_run=dry_run, again=again, errors=errors
    )  # fmt: skip


def rows(dsn: str, sql: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


def stored(dsn: str) -> Counter[str]:
    return Counter(
        row["what"] for row in rows(dsn, "select rt::text || ' ' || version as what from resource")
    )


def ndjson(path: Path, *resources: dict[str, Any]) -> Path:
    text = "".join(json.dumps(resource) + "\n" for resource in resources)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def patient(id: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, **more}


def observation(id: str, subject: str, **more: Any) -> dict[str, Any]:
    code = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
    made = {"resourceType": "Observation", "id": id, "status": "final", "code": code}
    return {**made, "subject": {"reference": subject}, **more}


def urn(name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"


def bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def post(resource: dict[str, Any], **more: Any) -> dict[str, Any]:
    request = {"method": "POST", "url": resource["resourceType"], **more}
    return {"fullUrl": urn(resource["id"]), "resource": resource, "request": request}


def test_every_form_and_any_order(fresh_dsn: str, tmp_path: Path) -> None:
    errors = tmp_path / "errors.ndjson"
    inputs = tmp_path / "in"
    inputs.mkdir()
    # "a" comes before what it refers to, in other files, one of them in an archive.
    ndjson(inputs / "a.ndjson.gz", observation("o1", "Patient/p1"), observation("o2", "Patient/p2"))
    ndjson(inputs / "z.jsonl", patient("p1"))
    with zipfile.ZipFile(inputs / "b.zip", "w") as archive:
        archive.writestr("deep/x.ndjson", json.dumps(patient("p2")))
        archive.writestr("deep/readme.txt", "nothing to read")
    doctor = {
        "resourceType": "Practitioner",
        "id": "d",
        "identifier": [{"system": IDS, "value": "9"}],
    }
    condition = f"Practitioner?identifier={IDS}|9"
    visit = observation("o3", urn("p3"), performer=[{"reference": condition}])
    (inputs / "c.json").write_text(json.dumps(bundle("transaction", post(patient("p3")), post(visit))))
    guarded = post(doctor, ifNoneExist=f"identifier={IDS}|9")
    (inputs / "y.json").write_text(json.dumps(bundle("batch", guarded, guarded)))
    collected = {"fullUrl": urn("77"), "resource": {"resourceType": "Patient"}}
    linked = {"resource": observation("o4", urn("77"))}
    (inputs / "e.json").write_text(json.dumps(bundle("collection", linked, collected)))
    (inputs / "f.json").write_text(json.dumps(patient("p5")))

    summary = take_in(fresh_dsn, inputs, errors=errors)
    assert not errors.exists(), errors.read_text()
    assert summary.counts == {"Patient": 5, "Observation": 4, "Practitioner": 2}
    assert sum(stored(fresh_dsn).values()) == 10, "the second conditional create finds the first"
    linked = rows(fresh_dsn, "select content ->> 'subject' as s from resource where id = 'o4'")
    assert "urn:uuid" not in linked[0]["s"]

    before = stored(fresh_dsn)
    once_more = take_in(fresh_dsn, inputs, errors=errors)
    assert once_more.counts == summary.counts
    assert once_more.known == 11
    assert stored(fresh_dsn) == before


def test_resources_that_refer_to_each_other(fresh_dsn: str, tmp_path: Path) -> None:
    """Neither file can be first; and what hangs on something missing is refused, with everything that hangs on it."""
    parents = [
        observation(f"a{n}", "Patient/p", hasMember=[{"reference": f"Observation/b{n}"}]) for n in range(20)
    ]
    members = [
        observation(f"b{n}", "Patient/p", derivedFrom=[{"reference": f"Observation/a{n}"}]) for n in range(20)
    ]
    members[3]["subject"] = {"reference": "Patient/absent"}
    one = ndjson(tmp_path / "1.ndjson", *parents)
    two = ndjson(tmp_path / "2.ndjson", *members)
    three = ndjson(tmp_path / "3.ndjson", patient("p"))
    errors = tmp_path / "errors.ndjson"
    summary = take_in(fresh_dsn, one, two, three, errors=errors)
    assert summary.counts == {"Observation": 38, "Patient": 1}
    assert summary.problems == 2
    found = {(line["place"], line["id"]) for line in map(json.loads, errors.read_text().splitlines())}
    assert found == {("line 4", "a3"), ("line 4", "b3")}
    assert "Patient/absent" in errors.read_text()

    # What was missing comes later; the same files again take in only what was open.
    four = ndjson(tmp_path / "4.ndjson", patient("absent"))
    summary = take_in(fresh_dsn, one, two, three, four, errors=errors)
    assert (summary.problems, summary.known) == (0, 39)
    assert summary.counts == {"Observation": 40, "Patient": 2}
    assert {row["version"] for row in rows(fresh_dsn, "select version from resource")} == {1}


def test_what_is_wrong_is_listed_and_leaves_the_rest(fresh_dsn: str, tmp_path: Path) -> None:
    lines = [
        json.dumps(patient("good")),
        '{"resourceType": "Patient", "id": "cut',
        json.dumps(patient("bad", gender="unheard-of")),
        json.dumps(observation("x", "Patient/good", colour="green")),
    ]
    path = tmp_path / "mixed.ndjson"
    path.write_text("\n".join(lines) + "\n")
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(bundle("transaction", post(patient("q")), post(patient("r", gender="none")))))
    errors = tmp_path / "errors.ndjson"
    dry = take_in(fresh_dsn, path, whole, errors=errors, dry_run=True)
    assert (dry.counts, dry.problems) == ({"Patient": 1}, 4)
    assert not stored(fresh_dsn)
    summary = take_in(fresh_dsn, path, whole, errors=errors)
    assert (summary.counts, summary.problems) == ({"Patient": 1}, 4)
    listed = [json.loads(line) for line in errors.read_text().splitlines()]
    by_place = {line["place"]: line for line in listed}
    assert set(by_place) == {"line 2", "line 3", "line 4", None}
    assert by_place["line 3"]["outcome"]["issue"][0]["expression"] == ["Patient.gender"]
    assert by_place["line 3"]["id"] == "bad"
    assert by_place[None]["outcome"]["issue"][0]["expression"] == ["Bundle.entry[1].resource.gender"]
    assert sum(stored(fresh_dsn).values()) == 1


def test_the_same_resource_twice_ends_as_the_last(fresh_dsn: str, tmp_path: Path) -> None:
    path = ndjson(tmp_path / "p.ndjson", patient("p", gender="male"), patient("p", gender="female"))
    summary = take_in(fresh_dsn, path, errors=tmp_path / "errors.ndjson")
    assert summary.problems == 0
    (row,) = rows(fresh_dsn, "select version, content ->> 'gender' as gender from resource")
    assert (row["version"], row["gender"]) == (2, "female")


@pytest.mark.skipif(
    not SYNTHEA.is_dir(), reason="THE SYNTHEA CORPUS IS NOT BESIDE THE CHECKOUT (../shared/data/synthea)"
)
def test_the_whole_synthea_corpus(fresh_dsn: str, tmp_path: Path) -> None:
    """110,853 resources: none refused, as many of each type as the files hold."""
    expected: Counter[str] = Counter()
    for path in SYNTHEA.rglob("*.json.gz"):
        entries = json.loads(gzip.decompress(path.read_bytes()))["entry"]
        expected.update(entry["resource"]["resourceType"] for entry in entries)
    errors = tmp_path / "errors.ndjson"
    summary = take_in(fresh_dsn, SYNTHEA, errors=errors)
    assert summary.problems == 0, errors.read_text()[:2000]
    assert summary.counts == expected
    assert sum(expected.values()) == 110_853
    (row,) = rows(fresh_dsn, "select count(*) as n from resource where not deleted")
    assert row["n"] == 110_853


def test_files_that_cannot_be_read(fresh_dsn: str, tmp_path: Path) -> None:
    sound = ndjson(tmp_path / "a.ndjson.gz", *(patient(f"p{n}") for n in range(2000)))
    damaged = tmp_path / "b.ndjson.gz"
    damaged.write_bytes(sound.read_bytes()[:-200])
    broken = tmp_path / "c.json.gz"
    broken.write_bytes(b"no gzip at all")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("x.json", "{")
    errors = tmp_path / "errors.ndjson"
    summary = take_in(fresh_dsn, sound, damaged, broken, tmp_path / "d.zip", errors=errors)
    assert summary.problems == 3
    assert summary.counts["Patient"] >= 2000
    listed = [json.loads(line)["file"] for line in errors.read_text().splitlines()]
    assert sorted(listed) == [str(damaged), str(broken), f"{tmp_path / 'd.zip'}:x.json"]
    with pytest.raises(FhirError, match="no zip"):
        (tmp_path / "e.zip").write_text("no zip at all")
        discover([tmp_path / "e.zip"])
    with pytest.raises(FileNotFoundError):
        discover([tmp_path / "absent"])


def test_taken_in_again_when_asked_for(fresh_dsn: str, tmp_path: Path) -> None:
    path = ndjson(tmp_path / "p.ndjson", patient("p"), {"resourceType": "Patient"})
    errors = tmp_path / "errors.ndjson"
    take_in(fresh_dsn, path, errors=errors)
    again = take_in(fresh_dsn, path, errors=errors, again=True)
    assert (again.counts, again.known) == ({"Patient": 2}, 0)
    assert sum(stored(fresh_dsn).values()) == 3, "the one with an id is the same, the one without is another"


def test_killed_and_started_again(fresh_dsn: str, tmp_path: Path) -> None:
    """Killed at any moment, started again until it is through: everything is there once."""
    inputs = tmp_path / "in"
    inputs.mkdir()
    for number in range(40):
        name = f"p{number}"
        visits = [post(observation(f"{name}-{n}", urn(name))) for n in range(60)]
        (inputs / f"{name}.json").write_text(json.dumps(bundle("transaction", post(patient(name)), *visits)))
    ndjson(
        inputs / "lines.ndjson",
        *(observation(f"l{n}", "Patient/late", note=[{"text": "x" * 400}]) for n in range(3000)),
    )
    ndjson(inputs / "z.ndjson", patient("late"))
    command = [sys.executable, "-m", "fhirhub", "import", str(inputs), "--workers", "2", "--json"]
    command += ["--errors", str(tmp_path / "errors.ndjson")]
    env = os.environ | {"FHIRHUB_DATABASE_URL": fresh_dsn}
    for patience in (1.2, 1.5, 1.8, 2.1, 2.5):
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        process.kill()
        process.wait()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["counts"] == {"Observation": 40 * 60 + 3000, "Patient": 41}
    counted = rows(
        fresh_dsn, "select rt, count(*) as n, max(version) as v from resource group by rt order by n"
    )
    assert [(row["n"], row["v"]) for row in counted] == [(41, 1), (5400, 1)]


def test_much_that_has_to_wait(fresh_dsn: str, tmp_path: Path) -> None:
    """Large Bundles go back and forth between the processes without any waiting for the other."""
    who = [{"reference": f"Practitioner?identifier={IDS}|9"}]
    for number in range(16):
        visits = [
            observation(f"v{n}", urn("p"), performer=who, note=[{"text": "x" * 20_000}]) for n in range(60)
        ]
        content = bundle(
            "transaction",
            post(patient("p", active=number > 7, multipleBirthInteger=number)),
            *(post(visit) for visit in visits),
        )
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    doctor = {"resourceType": "Practitioner", "id": "d", "identifier": [{"system": IDS, "value": "9"}]}
    ndjson(tmp_path / "composition.ndjson", doctor)
    summary = take_in(fresh_dsn, tmp_path, errors=tmp_path / "errors.out")
    assert summary.problems == 0
    assert summary.counts == {"Patient": 16, "Observation": 960, "Practitioner": 1}


def test_audit_events_are_refused_in_every_form(fresh_dsn: str, tmp_path: Path) -> None:
    made = {
        "resourceType": "AuditEvent", "type": {"code": "rest"}, "recorded": "2026-11-24T10:00:00Z",
        "agent": [{"requestor": True}], "source": {"observer": {"display": "x"}},
    }  # fmt: skip
    line, plain, batch, whole = (tmp_path / name for name in ("a.ndjson", "b.json", "c.json", "d.json"))
    ndjson(line, made, made | {"id": "a2"}, patient("p1"))
    plain.write_text(json.dumps(bundle("collection", {"resource": made | {"id": "a3"}})))
    batch.write_text(json.dumps(bundle("batch", post(made | {"id": "a4"}), post(patient("p2")))))
    whole.write_text(json.dumps(bundle("transaction", post(made | {"id": "a5"}), post(patient("p3")))))
    errors = tmp_path / "errors.ndjson"
    for dry_run in (True, False):
        summary = take_in(fresh_dsn, line, plain, batch, whole, errors=errors, dry_run=dry_run)
        assert (summary.counts, summary.problems) == ({"Patient": 2}, 5), dry_run
        told = [json.loads(text)["outcome"]["issue"][0] for text in errors.read_text().splitlines()]
        assert all("recorded by the server itself" in each["details"]["text"] for each in told)
    assert sum(stored(fresh_dsn).values()) == 2


def test_an_import_is_on_the_audit_trail(
    fresh_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited = Settings(database_url=fresh_dsn, data_dir=tmp_path / "keys", audit="on")
    options = {"workers": 1, "again": False, "errors": tmp_path / "errors.ndjson"}
    file = ndjson(tmp_path / "Erika.Mustermann.ndjson.gz", patient("p1"), patient("p2", gender="odd"))
    import_.take_in(audited, discover([file]), dry_run=True, **options)
    import_.take_in(audited, discover([file]), dry_run=False, **options)

    def broken(self: Import) -> Summary:
        raise ImportFailed("no more")

    monkeypatch.setattr(Import, "run", broken)
    with pytest.raises(ImportFailed):
        import_.take_in(audited, discover([file]), dry_run=False, **options)
    sql = "select outcome, kind, agent, detail::text as told from audit where interaction = 'import' order by seq"
    good, bad = rows(fresh_dsn, sql)
    assert (good["outcome"], good["kind"], good["agent"], bad["outcome"]) == (0, "import", "command line", 8)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert json.loads(good["told"])["more"] == {
        "finished": True, "resources": 1, "before": 0, "refused": 1, "counts": ["Patient: 1"], "files": 1,
        "read": [f".ndjson.gz sha256:{digest}"],
    }  # fmt: skip
    assert "by " in json.loads(good["told"])["clientName"] and "Muster" not in good["told"]
    assert str(tmp_path) not in good["told"]


def test_labels_stay_when_an_import_says_nothing_of_them(fresh_dsn: str, tmp_path: Path) -> None:
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
    errors = tmp_path / "errors.ndjson"
    first = ndjson(tmp_path / "first.ndjson", patient("p", meta={"security": [label]}), patient("q"))
    later = ndjson(tmp_path / "later.ndjson", patient("p", active=True), patient("q", active=True))
    for path in (first, later):
        assert take_in(fresh_dsn, path, errors=errors).problems == 0
    found = rows(fresh_dsn, "select id, version, meta::text as meta from resource order by id")
    assert [(row["id"], row["version"]) for row in found] == [("p", 2), ("q", 2)]
    assert [json.loads(row["meta"] or "{}") for row in found] == [{"security": [label]}, {}]
