"""Addresses of this server, for modules that a worker loads at its start: nothing of the web framework here."""

from __future__ import annotations


def fhir_base(origin: str) -> str:
    """The FHIR base of the server at ``origin``: what apps send as ``aud``."""
    return f"{origin}/fhir"
