"""A network as a file of readable Python code that needs PyTorch only."""

from greennas.export.python.module import python_code

__all__ = ["python_code"]
