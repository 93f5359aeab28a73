"""Where the files that come with the program lie: ``capability/`` and ``migrations/``.

They are rooms of the repository, beside ``src``; a wheel carries them inside the package.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder ``name`` of the repository, wherever the package was installed from.

    Raises FileNotFoundError when the installation lacks it.
    """
    for candidate in (_HERE / "_packaged" / name, _HERE.parents[1] / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"this installation of fhirhub lacks its folder '{name}'; install it again")
