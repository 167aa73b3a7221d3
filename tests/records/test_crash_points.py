"""A run that dies just before any operation on its files resumes to the uninterrupted result."""

from __future__ import annotations

import pytest

from tests.records.crash_points import count_operations, crash_and_go_on, end_of, leftovers

POINTS = 40


@pytest.mark.slow
def test_a_run_that_dies_before_any_of_40_operations_ends_as_the_unbroken_one(tmp_path):
    """All operations: ``python benchmarks/soak_crashes.py``."""
    total = count_operations(tmp_path / "whole")
    assert total > POINTS
    expected = end_of(tmp_path / "whole")
    for index in range(POINTS):
        operation = index * (total - 1) // (POINTS - 1)
        folder = tmp_path / str(operation)
        assert crash_and_go_on(folder, operation)
        assert end_of(folder) == expected, f"operation {operation} of {total}"
        assert leftovers(folder) == []
