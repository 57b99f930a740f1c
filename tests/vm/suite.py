# SPDX-License-Identifier: MIT
"""Tests for which the machine of one suite is enough, or that only its programs need."""

import sys

from observe import read
from tap import test


def test_on(*codenames, when_asked=False, **options):
    """@test where the machine's suite is one of these; @when_asked: by a word of its name only, for it takes minutes."""
    there = any(f"VERSION_CODENAME={name}\n" in read("/etc/os-release") for name in codenames)
    return lambda f: test(**options)(f) if there and not (when_asked and not sys.argv[1:]) else f
