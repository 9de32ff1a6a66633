"""All APIs that Tapeline reads, and which of them a path or a row belongs to.

The recorder's default pattern of paths has to equal `PATH_PATTERN`; it is written out there, because the addon imports
nothing from here. A test compares them.
"""

from __future__ import annotations

import re

from ..errors import DataError
from .base import Api
from .chat_completions.api import ChatCompletions
from .rows import OriginColumns

#: The first one whose pattern matches a path reads it.
APIS: tuple[Api, ...] = (ChatCompletions(),)
PATH_PATTERN = "|".join(api.path_pattern for api in APIS)

# Reads what was recorded from a path of the user's own (the recorder's option `tapeline_path`), and rows that are older
# than the column `api`.
_DEFAULT = APIS[0]


def is_recorded_path(path: str) -> bool:
    """Whether the recorder records requests to this path, which may have a query, by default."""
    return re.search(PATH_PATTERN, _without_query(path)) is not None


def api_for_path(path: str) -> Api:
    """Return the API that reads requests to this path; chat completions for a path that no API claims."""
    return next((api for api in APIS if re.search(api.path_pattern, _without_query(path))), _DEFAULT)


def api_named(name: str) -> Api:
    """Return the API with this name. Raises DataError for a name that only a newer version knows."""
    for api in APIS:
        if api.name == name:
            return api
    raise DataError(f"This version of Tapeline does not know the API {name!r}: install the version that recorded it.")


def api_of(row: OriginColumns) -> Api:
    """Return the API of a row of `exchanges`. Raises DataError as `api_named` does."""
    name = row["api"]
    return _DEFAULT if name is None else api_named(name)


def _without_query(path: str) -> str:
    return path.partition("?")[0]
