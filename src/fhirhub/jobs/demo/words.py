"""What the demo practice is made of. All people are invented; codes are LOINC, SNOMED CT, ICD-10-CM, RxNorm, CVX, CPT."""

from __future__ import annotations

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"
CPT = "http://www.ama-assn.org/go/cpt"
UCUM = "http://unitsofmeasure.org"
TERMS = "http://terminology.hl7.org/CodeSystem/"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
NPI = "http://hl7.org/fhir/sid/us-npi"
MRN = "http://harbor-family-practice.example/mrn"

WOMEN = "Amelia Nora Rosa Ines Hannah Grace Leila Maya Olive Ruth Sofia Tess Yara June Clara Edith Mei Priya".split()
MEN = (
    "Adam Bruno Caleb Dev Elias Felix Gus Hugo Ivan Jonas Kenji Luis Marco Noah Omar Paul Rafael Theo".split()
)
FAMILIES = (
    "Abbott Becker Castillo Dunne Ericson Farrow Galvan Hart Ibarra Jensen Kowalski Lindqvist Moreau Nakamura "
    "Okafor Pereira Quinn Rossi Santos Tanaka Ueda Varga Whitaker Young Zimmer Alvarez Brandt Choi Delgado Engel"
).split()
STREETS = ("Harbor Street", "Mill Lane", "Chestnut Avenue", "Old Post Road", "Lighthouse Way", "Cedar Court")
TOWNS = (("Plymouth", "02360"), ("Duxbury", "02332"), ("Kingston", "02364"), ("Carver", "02330"))
RACES = (("2106-3", "White"), ("2054-5", "Black or African American"), ("2028-9", "Asian"))
ETHNICITIES = (("2186-5", "Not Hispanic or Latino"), ("2135-2", "Hispanic or Latino"))

STAFF = (
    ("demo-dr-hale", "Miriam", "Hale", "female", "207Q00000X", "Family Medicine Physician"),
    ("demo-dr-osei", "Kwame", "Osei", "male", "207R00000X", "Internal Medicine Physician"),
    ("demo-np-lund", "Signe", "Lund", "female", "363LF0000X", "Family Nurse Practitioner"),
    ("demo-rn-park", "Daniel", "Park", "male", "163W00000X", "Registered Nurse"),
)
PAYERS = (
    ("demo-payer-bay", "Bay State Health Plan", "commercial"),
    ("demo-payer-medicare", "Medicare Part B (demo)", "medicare"),
)

# code, SNOMED display, ICD-10, its display, medication (RxNorm, display, how to take it) or None
CONDITIONS = (
    ("38341003", "Hypertensive disorder", "I10", "Essential (primary) hypertension",
     ("314076", "lisinopril 10 MG Oral Tablet", "Take 1 tablet by mouth every morning")),
    ("44054006", "Type 2 diabetes mellitus", "E11.9", "Type 2 diabetes mellitus without complications",
     ("860975", "metformin hydrochloride 500 MG Oral Tablet", "Take 1 tablet by mouth twice a day with meals")),
    ("55822004", "Hyperlipidemia", "E78.5", "Hyperlipidemia, unspecified",
     ("617312", "atorvastatin 20 MG Oral Tablet", "Take 1 tablet by mouth at bedtime")),
    ("195967001", "Asthma", "J45.909", "Unspecified asthma, uncomplicated",
     ("745679", "albuterol 0.09 MG/ACTUAT Metered Dose Inhaler", "Inhale 2 puffs every 4 to 6 hours as needed")),
    ("40930008", "Hypothyroidism", "E03.9", "Hypothyroidism, unspecified",
     ("966247", "levothyroxine sodium 0.05 MG Oral Tablet", "Take 1 tablet by mouth before breakfast")),
    ("35489007", "Depressive disorder", "F32.A", "Depression, unspecified",
     ("312940", "sertraline 50 MG Oral Tablet", "Take 1 tablet by mouth once a day")),
    ("396275006", "Osteoarthritis", "M19.90", "Unspecified osteoarthritis, unspecified site", None),
    ("61582004", "Allergic rhinitis", "J30.9", "Allergic rhinitis, unspecified", None),
)  # fmt: skip
ALLERGIES = (
    ("764146007", "Penicillin", "medication", "247472004", "Hives", "low"),
    ("762952008", "Peanut", "food", "39579001", "Anaphylaxis", "high"),
    ("387207008", "Ibuprofen", "medication", "271807003", "Eruption of skin", "low"),
    ("256277009", "Grass pollen", "environment", "70076002", "Nasal congestion", "low"),
)
REASONS = (
    ("185349003", "Encounter for check up", "99396", 182),
    ("390906007", "Follow-up encounter", "99213", 118),
    ("185345009", "Encounter for symptom", "99214", 164),
)
# code, display, low, high, unit, UCUM code, decimals
LABS = (
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", 4.9, 8.4, "%", "%", 1),
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", 140, 265, "mg/dL", "mg/dL", 0),
    ("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", 34, 78, "mg/dL", "mg/dL", 0),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", 0.6, 1.4, "mg/dL", "mg/dL", 2),
)
VITALS = {
    "height": ("8302-2", "Body height", "cm", "cm"),
    "weight": ("29463-7", "Body weight", "kg", "kg"),
    "bmi": ("39156-5", "Body mass index (BMI) [Ratio]", "kg/m2", "kg/m2"),
    "heart": ("8867-4", "Heart rate", "/min", "/min"),
    "breath": ("9279-1", "Respiratory rate", "/min", "/min"),
    "warmth": ("8310-5", "Body temperature", "Cel", "Cel"),
    "oxygen": ("2708-6", "Oxygen saturation in Arterial blood", "%", "%"),
}
NOTES = (
    "Feels well. No new complaints. Medication reviewed and unchanged; will return as planned.",
    "Reports mild fatigue over the past weeks. Examination unremarkable. Bloods taken today.",
    "Seen for follow-up. Readings at home have been steady. Encouraged to keep walking daily.",
)
