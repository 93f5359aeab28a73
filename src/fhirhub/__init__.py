"""fhirhub: a FHIR R4 (4.0.1) interoperability server on Postgres."""

__version__ = "0.1.0"
