"""How much one search may ask for, before anything is known of what is stored.

These keep the text of a search within bounds; what it costs to answer is estimated by :mod:`fhirhub.store.cost`.
Whatever passes a limit is refused with the limit and with what to do instead.
"""

from __future__ import annotations

MAX_PARAMETERS = 200
"""Parameters of one search."""
MAX_NAME = 500
"""Characters of the name of a parameter, its chain included."""
MAX_CRITERIA = 400
"""Criteria of one search, each branch of an untyped chain counted."""
MAX_VALUES = 500
"""Values joined by commas in one criterion."""
MAX_DEPTH = 6
"""Links of a chain, nested ``_has`` included."""
MAX_CHAIN_TYPES = 20
"""Types an untyped chain may fan out to."""
MAX_INCLUDES = 50
"""``_include`` and ``_revinclude`` of one search."""
MAX_SORTS = 8
"""Keys of ``_sort``."""
MAX_COUNT = 1000
"""Resources on a page; more are not given at once, whatever is asked for."""
MAX_CURSOR = 20_000
"""Characters of a page link's cursor."""
