"""Imports the application that MODULE:APP names."""

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from fastws.app import FastWS
from fastws.config.checks import app_problem
from fastws.errors import AppImportError, ConfigError


def load_app(target: str, directory: str | None = None) -> FastWS:
    """Import `MODULE:APP` and return the application; APP may be a dotted path inside the module.

    `directory`, by default the working directory, is looked in first and stays on `sys.path`. Raises `ConfigError` if
    the text is not MODULE:APP, and `AppImportError` for all else, with the traceback if the module's own code failed.
    """
    problem = app_problem(target)
    if problem is not None:
        raise ConfigError(f"MODULE:APP {problem}")
    module_name, _, attributes = target.partition(":")
    found: object = _import_module(module_name, str(Path(directory or ".").resolve()))
    module = found
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise AppImportError(f"{target}: there is no {attributes!r} in {module_name}{_others(module)}") from None
    if isinstance(found, FastWS):
        return found
    name = type(found).__name__
    article = "an" if name[0].lower() in "aeiou" else "a"
    kind = f"the class {found.__name__}" if isinstance(found, type) else f"{article} {name}"
    raise AppImportError(f"{target} is {kind}, not a FastWS{_others(module)}")


def _import_module(name: str, directory: str) -> ModuleType:
    if directory not in sys.path:
        sys.path.insert(0, directory)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise AppImportError(f"there is no module {error.name!r} in {directory} (see --app-dir)") from None
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> AppImportError:
    """Make an error that shows where the application's code failed, without the frames of the import system."""
    report = traceback.TracebackException.from_exception(error)
    own = [frame for frame in report.stack if frame.filename != __file__ and "importlib" not in frame.filename]
    report.stack = traceback.StackSummary.from_list(own)
    return AppImportError(f"{name} could not be imported\n{''.join(report.format()).rstrip()}")


def _others(module: object) -> str:
    """Name the applications that the module does have, for the end of an error sentence."""
    names = [name for name, value in vars(module).items() if isinstance(value, FastWS)]
    return f"; it has {', '.join(names)}" if names else ""
