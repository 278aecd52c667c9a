"""The packages that only some campaigns need."""

import importlib
from types import ModuleType

from saa_lite.errors import SaaLiteError


def needed(name: str, purpose: str) -> ModuleType:
    """A package of the extra ``cluster``.

    Raises:
        SaaLiteError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SaaLiteError(
            f'{purpose} needs {name}, which is not installed: pip install "saa_lite[cluster]"'
        ) from error
