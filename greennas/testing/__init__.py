"""Conformance suite for search spaces, as a helper for tests.

    from greennas.testing import check_space

    def test_my_space():
        check_space("my_space.py")

``greennas spaces check FILE`` runs the same and prints what it finds.
"""

from greennas.testing.finding import Finding, Level
from greennas.testing.suite import check_space, examine_space

__all__ = ["Finding", "Level", "check_space", "examine_space"]
