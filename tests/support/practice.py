"""A small practice on a real ``fhirhub serve`` that asks who one is: people, apps and records, all made by commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from support.process import Server

PASSWORD = "ladder umbrella quartz"
LOINC = "http://loinc.org"
WEIGHT = "29463-7"
READINGS = 45
"""Of each patient; more than a page of search results."""
Document = dict[str, Any]


class Practice:
    """The server, and commands beside it."""

    def __init__(self, server: Server) -> None:
        self.server = server

    @property
    def base(self) -> str:
        """The FHIR base."""
        return self.server.base

    @property
    def origin(self) -> str:
        return self.server.base.removesuffix("/fhir")

    def command(self, *arguments: str, typed: str = "") -> Any:
        """What ``fhirhub`` with these arguments answers; it finds the store, and the port, as the server has them."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIRHUB_")}
        environment |= self.server.variables | {"FHIRHUB_PORT": str(urlsplit(self.base).port)}
        done = subprocess.run(
            [sys.executable, "-m", "fhirhub", *arguments, "--json"],
            input=typed, capture_output=True, text=True, env=environment, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def person(self, username: str, role: str, fhir_user: str | None = None) -> None:
        """Somebody who signs in with :data:`PASSWORD`."""
        who = ("--fhir-user", fhir_user) if fhir_user else ()
        self.command(
            "users", "add", username, "--role", role, *who, "--password-stdin", typed=PASSWORD + "\n"
        )

    def app(self, name: str, scope: str, redirect_uri: str, *more: str, kind: str = "public") -> str:
        """A registered app: its client_id."""
        made = self.command(
            "clients", "add", name, "--kind", kind, "--scope", scope, "--redirect-uri", redirect_uri, *more
        )
        return str(made["client_id"])

    def system(self, name: str, scope: str, jwks: Document) -> str:
        """A registered backend system: its client_id."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / "jwks.json"
            file.write_text(json.dumps(jwks))
            made = self.command(
                "clients", "add", name, "--kind", "backend", "--scope", scope, "--jwks", str(file)
            )
        return str(made["client_id"])

    def take_in(self, documents: list[Document]) -> None:
        """Import records."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / "records.ndjson"
            file.write_text("".join(json.dumps(one) + "\n" for one in documents))
            self.command("import", str(file))


@contextmanager
def opened(postgres_bin: str | None = None, **variables: str) -> Iterator[Practice]:
    """A practice with two workers and the records of :func:`records`, until the ``with`` ends."""
    chosen = {"FHIRHUB_NO_AUTH": "off", "FHIRHUB_SHARED_BUFFERS": "64MiB", **variables}
    chosen |= {"FHIRHUB_POSTGRES_BIN": postgres_bin} if postgres_bin else {}
    # Not pytest's tmp_path: its length would push the socket out of the data directory.
    with TemporaryDirectory(prefix="fhirhub-test-", ignore_cleanup_errors=True) as home:
        with Server(Path(home), "--workers", "2", variables=chosen) as server:
            server.wait_ready()
            practice = Practice(server)
            practice.take_in(list(records()))
            yield practice


def records() -> Iterator[Document]:
    """A doctor, and two patients with a visit, a diagnosis and body weights each."""
    yield {"resourceType": "Practitioner", "id": "hale", "name": [{"family": "Hale", "given": ["Morgan"]}]}
    for id, given, family in (("ana", "Ana", "Abbott"), ("ben", "Ben", "Becker")):
        subject = {"reference": f"Patient/{id}"}
        name = [{"family": family, "given": [given]}]
        yield {"resourceType": "Patient", "id": id, "name": name, "birthDate": "1970-01-02"}
        yield {
            "resourceType": "Encounter", "id": f"{id}-visit", "status": "finished", "class": {"code": "AMB"},
            "subject": subject,
        }  # fmt: skip
        yield {
            "resourceType": "Condition", "id": f"{id}-condition", "subject": subject,
            "code": {"text": "Hypertension"},
        }  # fmt: skip
        for number in range(READINGS):
            yield reading(id, f"{id}-{number}", 60 + number)


def reading(patient: str, id: str, kilograms: int) -> Document:
    """A body weight."""
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": WEIGHT}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": f"2026-{kilograms % 12 + 1:02}-01",
        "valueQuantity": {
            "value": kilograms,
            "unit": "kg",
            "system": "http://unitsofmeasure.org",
            "code": "kg",
        },
    }
