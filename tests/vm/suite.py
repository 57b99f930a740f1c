# SPDX-License-Identifier: MIT
"""Tests for which the machine of one suite is enough, or that only its programs need."""

from observe import read
from tap import test


def test_on(codename, **options):
    """@test where that is the machine's suite."""
    return test(**options) if f"VERSION_CODENAME={codename}\n" in read("/etc/os-release") else lambda f: f
