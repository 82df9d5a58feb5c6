"""Python files outside of any package, as modules: studies in experiments/, code that an export writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def module_from(file: Path, name: str = "study") -> ModuleType:
    """The module in ``file``; each call makes a new one."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
