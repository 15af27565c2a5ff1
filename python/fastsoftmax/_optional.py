"""Import of optional modules, with one error message for all of them."""

import importlib
from types import ModuleType


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or say how to install it.

    Parameters
    ----------
    module : str
        Name of the module, as in an import statement.
    extra : str
        The extra of fastsoftmax that installs it.
    purpose : str
        What needs the module; opens the error message.

    Returns
    -------
    ModuleType
        The imported module.

    Raises
    ------
    ImportError
        If the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {module}; install it with `pip install 'fastsoftmax[{extra}]'`",
            name=module,
        ) from error
