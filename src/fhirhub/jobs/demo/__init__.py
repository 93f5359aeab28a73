"""A small invented practice for the first run: always the same people with the same history."""
