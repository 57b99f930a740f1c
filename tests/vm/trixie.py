#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Debian 13 under systemd, with the package: see run.py and systemd.py."""

import run

run.main("trixie", systemd=True)
