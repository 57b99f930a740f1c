# SPDX-License-Identifier: MIT
"""Tests for which the machine of one suite is enough, or that only its programs need."""

import sys

from observe import read
from tap import test


def test_on(codename, when_asked=False, **options):
    """@test where that is the machine's suite; @when_asked: by a word of its name only, for it takes minutes."""
    there = f"VERSION_CODENAME={codename}\n" in read("/etc/os-release")
    return lambda f: test(**options)(f) if there and not (when_asked and not sys.argv[1:]) else f
