"""``fhirhub`` and ``python -m fhirhub``: the command line."""

from __future__ import annotations

import sys

from fhirhub.cli.root import run


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 used wrongly."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
