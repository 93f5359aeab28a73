"""Parts of a resource type that a scope can be narrowed to, and types that a scope of all types can.

The categories are those the certification asks for: US Core 6.1 "Scopes", §granular scopes, as scope queries
``?category=system|code``.
"""

from __future__ import annotations

_CONDITION = "http://terminology.hl7.org/CodeSystem/condition-category"
_OBSERVATION = "http://terminology.hl7.org/CodeSystem/observation-category"
_US_CONDITION = "http://hl7.org/fhir/us/core/CodeSystem/condition-category"
_US_CATEGORY = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category"
_US_DOCUMENT = "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category"

CATEGORIES: dict[str, tuple[tuple[str, str], ...]] = {
    "Condition": (
        (f"category={_CONDITION}|encounter-diagnosis", "Diagnoses made at visits"),
        (f"category={_CONDITION}|problem-list-item", "Problem list"),
        (f"category={_US_CONDITION}|health-concern", "Health concerns"),
    ),
    "DocumentReference": ((f"category={_US_DOCUMENT}|clinical-note", "Clinical notes"),),
    "Observation": (
        (f"category={_OBSERVATION}|laboratory", "Lab results"),
        (f"category={_OBSERVATION}|vital-signs", "Vital signs"),
        (f"category={_OBSERVATION}|social-history", "Social history"),
        (f"category={_OBSERVATION}|survey", "Surveys and questionnaires"),
        (f"category={_US_CATEGORY}|sdoh", "Social needs"),
        (f"category={_OBSERVATION}|procedure", "Clinical tests"),
    ),
}
"""Resource type -> (scope query, what people call it)."""

TYPES: dict[str, str] = {
    "AllergyIntolerance": "Allergies",
    "CarePlan": "Care plans",
    "CareTeam": "Care team",
    "Condition": "Problems and diagnoses",
    "Coverage": "Insurance",
    "Device": "Implanted devices",
    "DiagnosticReport": "Lab and imaging reports",
    "DocumentReference": "Documents and notes",
    "Encounter": "Visits",
    "Goal": "Goals",
    "Immunization": "Immunizations",
    "Medication": "Medicines",
    "MedicationDispense": "Medicines handed out",
    "MedicationRequest": "Prescriptions",
    "Observation": "Results, vital signs and other observations",
    "Patient": "Name, address and other personal data",
    "Procedure": "Procedures",
    "Provenance": "Where data came from",
    "QuestionnaireResponse": "Answers to questionnaires",
    "RelatedPerson": "Relatives and contacts",
    "ServiceRequest": "Orders and referrals",
    "Specimen": "Specimens",
}
"""What a scope of all types can be narrowed to: the types of US Core with a patient, and what people call them."""
