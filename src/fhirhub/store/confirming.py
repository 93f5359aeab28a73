"""The number by which a statement tells that what was remembered for it is still all there is."""

from __future__ import annotations

from typing import Any

from fhirhub.store.asked import Asked
from fhirhub.store.codings import filed
from fhirhub.store.recall import counted
from fhirhub.store.statement import Arguments


def told(asked: Asked, arguments: Arguments) -> str:
    """That number as SQL (:attr:`fhirhub.store.asked.Asked.confirmed`); empty when nothing was remembered."""
    counts = [counted(question, arguments) for question in asked.recalled]
    if asked.remembered:
        counts.append(filed(asked.remembered, arguments))
    return " + ".join([f"({each})" for each in counts])


def confirming(asked: Asked) -> tuple[str, list[Any]]:
    """The statement that tells nothing else, and its arguments; empty when nothing was remembered."""
    arguments = Arguments()
    number = told(asked, arguments)
    return (f"select {number} as filed" if number else ""), arguments.values
