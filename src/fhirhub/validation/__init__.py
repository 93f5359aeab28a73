"""Whether a resource is what its definition says: pure, from the compiled tables, to a list of issues."""

from fhirhub.validation.validator import Validator

__all__ = ["Validator"]
