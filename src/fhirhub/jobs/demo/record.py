"""The record of one patient of the demo practice: years of visits with what comes of them."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from fhirhub.jobs.demo.billing import claim, coverage, explanation
from fhirhub.jobs.demo.shapes import Care, Resource, concept, profile, quantity, ref, stamp, term
from fhirhub.jobs.demo.words import (
    ALLERGIES,
    CONDITIONS,
    CVX,
    ICD10,
    LABS,
    LOINC,
    NOTES,
    REASONS,
    RXNORM,
    SNOMED,
    TERMS,
    VITALS,
)


class Record:
    """Makes the resources of one patient; ``chance`` decides what happens to them, up to ``today``."""

    def __init__(self, patient: Resource, care: Care, chance: random.Random, today: datetime) -> None:
        self._patient = patient
        self._care = care
        self._chance = chance
        self._today = today
        self._age = today.year - int(patient["birthDate"][:4])
        self._counts: dict[str, int] = {}
        self._payer = care.payers[1 if self._age >= 65 else 0]
        self._height = chance.uniform(152, 186) if self._age > 16 else 85 + self._age * 6
        self._weight = (
            (self._height / 100) ** 2 * chance.uniform(20, 32) if self._age > 16 else 10 + self._age * 2.8
        )

    def resources(self) -> Iterator[Resource]:
        """All of it; what is referred to comes first."""
        yield self._patient
        insured = coverage(self._patient, self._payer, self._today)
        yield insured
        problems = [self._condition(row) for row in self._ailments()]
        yield from problems
        for row in self._chance.sample(ALLERGIES, self._chance.choice((0, 0, 1, 1, 2))):
            yield self._allergy(row)
        years = self._chance.randint(3, 5)
        visits = years * (3 if problems else 1) + 1
        for number in range(visits):
            when = self._today - timedelta(days=round((visits - number) * years * 365 / visits))
            when = when.replace(hour=self._chance.randint(8, 16), minute=self._chance.choice((0, 20, 40)))
            yield from self._visit(when, problems, insured, first=number == 0, yearly=number % 3 == 0)
        yield self._appointment(self._today + timedelta(days=self._chance.randint(3, 60), hours=2), "booked")

    def _new(self, kind: str, /, **content: Any) -> Resource:
        number = self._counts[kind] = self._counts.get(kind, 0) + 1
        id = f"{self._patient['id']}-{kind.lower()}-{number}"
        return {"resourceType": kind, "id": id, **content}

    def _ailments(self) -> list[Any]:
        if self._age < 16:
            return [CONDITIONS[3]] if self._chance.random() < 0.3 else []
        return self._chance.sample(CONDITIONS, min(4, self._chance.randint(0, 1 + self._age // 22)))

    def _condition(self, row: Any) -> Resource:
        code, display, icd, icd_display, _ = row
        onset = self._today - timedelta(days=self._chance.randint(1900, 4000))
        return self._new(
            "Condition",
            meta=profile("us-core-condition"),
            clinicalStatus=term("condition-clinical", "active"),
            verificationStatus=term("condition-ver-status", "confirmed"),
            category=[concept(TERMS + "condition-category", "problem-list-item", "Problem List Item")],
            code=concept(SNOMED, code, display, (ICD10, icd, icd_display)),
            subject=ref(self._patient),
            onsetDateTime=onset.strftime("%Y-%m-%d"),
            recordedDate=onset.strftime("%Y-%m-%d"),
            recorder=ref(self._care.doctor),
        )

    def _allergy(self, row: Any) -> Resource:
        code, display, category, reaction, shown, criticality = row
        return self._new(
            "AllergyIntolerance",
            meta=profile("us-core-allergyintolerance"),
            clinicalStatus=term("allergyintolerance-clinical", "active"),
            verificationStatus=term("allergyintolerance-verification", "confirmed"),
            type="allergy",
            category=[category],
            criticality=criticality,
            code=concept(SNOMED, code, display),
            patient=ref(self._patient),
            recordedDate=(self._today - timedelta(days=2200)).strftime("%Y-%m-%d"),
            reaction=[{"manifestation": [concept(SNOMED, reaction, shown)]}],
        )

    def _visit(
        self, when: datetime, problems: list[Resource], insured: Resource, *, first: bool, yearly: bool
    ) -> Iterator[Resource]:
        reason = REASONS[0] if yearly else self._chance.choice(REASONS[1:])
        appointment = self._appointment(when, "fulfilled")
        encounter = self._encounter(when, reason, problems, appointment)
        yield from (appointment, encounter)
        yield from self._vitals(when, encounter)
        if first:
            yield from self._prescriptions(when, problems, encounter)
        if yearly and self._age > 16:
            yield from self._labs(when, encounter)
        if when.month in (9, 10, 11, 12) or yearly:
            yield self._flu_shot(when, encounter)
        yield self._note(when, encounter)
        number = self._counts["Encounter"]
        billed = claim(self._patient, self._care, insured, encounter, reason, number, self._payer)
        yield billed
        yield explanation(billed, insured, reason, self._age)

    def _appointment(self, when: datetime, status: str) -> Resource:
        people = [ref(self._patient), ref(self._care.doctor), ref(self._care.room)]
        return self._new(
            "Appointment",
            status=status,
            serviceType=[concept(TERMS + "service-type", "124", "General Practice")],
            start=stamp(when),
            end=stamp(when + timedelta(minutes=20)),
            minutesDuration=20,
            participant=[{"actor": person, "status": "accepted"} for person in people],
        )

    def _encounter(
        self, when: datetime, reason: Any, problems: list[Resource], appointment: Resource
    ) -> Resource:
        code, display, _, _ = reason
        made = self._new(
            "Encounter",
            meta=profile("us-core-encounter"),
            status="finished",
            **{"class": {"system": TERMS + "v3-ActCode", "code": "AMB", "display": "ambulatory"}},
            type=[concept(SNOMED, code, display)],
            subject=ref(self._patient),
            participant=[{"individual": ref(self._care.doctor)}],
            appointment=[ref(appointment)],
            period={"start": stamp(when), "end": stamp(when + timedelta(minutes=20))},
            location=[{"location": ref(self._care.room)}],
            serviceProvider=ref(self._care.office),
        )
        if problems:
            made["reasonReference"] = [ref(self._chance.choice(problems))]
        return made

    # --- what is measured

    def _observation(
        self, when: datetime, encounter: Resource, category: str, code: Resource, **value: Any
    ) -> Resource:
        return self._new(
            "Observation",
            status="final",
            category=[term("observation-category", category)],
            code=code,
            subject=ref(self._patient),
            encounter=ref(encounter),
            effectiveDateTime=stamp(when),
            issued=stamp(when),
            performer=[ref(self._care.nurse)],
            **value,
        )

    def _vitals(self, when: datetime, encounter: Resource) -> Iterator[Resource]:
        chance = self._chance
        self._weight *= 1 + chance.gauss(0.002, 0.012)
        bmi = self._weight / (self._height / 100) ** 2
        measured = {
            "height": (self._height, 1),
            "weight": (self._weight, 1),
            "bmi": (bmi, 1),
            "heart": (chance.gauss(74, 8), 0),
            "breath": (chance.gauss(16, 1.5), 0),
            "warmth": (chance.gauss(36.7, 0.25), 1),
            "oxygen": (min(99.0, chance.gauss(97.5, 0.8)), 0),
        }
        for name, (value, decimals) in measured.items():
            code, display, unit, ucum = VITALS[name]
            yield self._observation(
                when, encounter, "vital-signs", concept(LOINC, code, display),
                valueQuantity=quantity(value, unit, ucum, decimals),
            )  # fmt: skip
        pressure = chance.gauss(112 + self._age * 0.32, 9)
        parts = (
            ("8480-6", "Systolic blood pressure", pressure),
            ("8462-4", "Diastolic blood pressure", pressure * 0.62),
        )
        yield self._observation(
            when,
            encounter,
            "vital-signs",
            concept(LOINC, "85354-9", "Blood pressure panel with all children optional"),
            component=[
                {"code": concept(LOINC, code, display), "valueQuantity": quantity(value, "mmHg", "mm[Hg]", 0)}
                for code, display, value in parts
            ],
        )

    def _labs(self, when: datetime, encounter: Resource) -> Iterator[Resource]:
        panel = concept(LOINC, "24323-8", "Comprehensive metabolic 2000 panel - Serum or Plasma")
        order = self._new(
            "ServiceRequest",
            status="completed",
            intent="order",
            category=[concept(SNOMED, "108252007", "Laboratory procedure")],
            code=panel,
            subject=ref(self._patient),
            encounter=ref(encounter),
            authoredOn=stamp(when),
            requester=ref(self._care.doctor),
        )
        yield order
        results = []
        for code, display, low, high, unit, ucum, decimals in LABS:
            value = self._chance.uniform(low, high)
            results.append(
                self._observation(
                    when + timedelta(hours=20), encounter, "laboratory", concept(LOINC, code, display),
                    valueQuantity=quantity(value, unit, ucum, decimals), basedOn=[ref(order)],
                )
            )  # fmt: skip
        yield from results
        yield self._new(
            "DiagnosticReport",
            meta=profile("us-core-diagnosticreport-lab"),
            basedOn=[ref(order)],
            status="final",
            category=[term("v2-0074", "LAB")],
            code=panel,
            subject=ref(self._patient),
            encounter=ref(encounter),
            effectiveDateTime=stamp(when + timedelta(hours=20)),
            issued=stamp(when + timedelta(hours=26)),
            performer=[ref(self._care.office)],
            result=[ref(result) for result in results],
        )

    # --- what is done

    def _prescriptions(
        self, when: datetime, problems: list[Resource], encounter: Resource
    ) -> Iterator[Resource]:
        remedies = {row[0]: row[4] for row in CONDITIONS}
        for problem in problems:
            remedy = remedies[problem["code"]["coding"][0]["code"]]
            if remedy is None:
                continue
            code, display, sig = remedy
            yield self._new(
                "MedicationRequest",
                meta=profile("us-core-medicationrequest"),
                status="active",
                intent="order",
                medicationCodeableConcept=concept(RXNORM, code, display),
                subject=ref(self._patient),
                encounter=ref(encounter),
                authoredOn=stamp(when),
                requester=ref(self._care.doctor),
                reasonReference=[ref(problem)],
                dosageInstruction=[{"text": sig, "asNeededBoolean": "as needed" in sig}],
                dispenseRequest={"numberOfRepeatsAllowed": 3, "quantity": {"value": 90, "unit": "tablet"}},
            )

    def _flu_shot(self, when: datetime, encounter: Resource) -> Resource:
        return self._new(
            "Immunization",
            meta=profile("us-core-immunization"),
            status="completed",
            vaccineCode=concept(CVX, "140", "Influenza, seasonal, injectable, preservative free"),
            patient=ref(self._patient),
            encounter=ref(encounter),
            occurrenceDateTime=stamp(when),
            primarySource=True,
            performer=[{"actor": ref(self._care.nurse)}],
        )

    def _note(self, when: datetime, encounter: Resource) -> Resource:
        text = f"{when:%d %B %Y}. {self._chance.choice(NOTES)}"
        attachment = {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}
        return self._new(
            "DocumentReference",
            meta=profile("us-core-documentreference"),
            status="current",
            type=concept(LOINC, "11506-3", "Progress note"),
            category=[concept(LOINC, "11506-3", "Progress note")],
            subject=ref(self._patient),
            date=stamp(when),
            author=[ref(self._care.doctor)],
            custodian=ref(self._care.office),
            content=[{"attachment": attachment}],
            context={"encounter": [ref(encounter)]},
        )
