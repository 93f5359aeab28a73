"""Measures fhirhub against limits taken on the same machine in the same run: ``make bench``, ``python -m bench``."""
