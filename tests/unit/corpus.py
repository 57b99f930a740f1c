#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The fuzzer's corpus has every key in every place where a key may stand, so that no parser is left to luck.

An input is up to four parts, see tests/fuzz/fuzz_policy.c: who asks, with the arguments of the line in
pam.d; nsbox.conf; a file of nsbox.conf.d; the user's file of users.d.
"""

import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.realpath(os.path.join(HERE, "../.."))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from tap import eq, main, test

PLACES = ("an argument on the line in pam.d", "nsbox.conf", "nsbox.conf.d", "users.d")


def read(path):
    with open(f"{REPO}/{path}") as f:
        return f.read()


def inputs():
    """The parts of each input, as text."""
    for path in sorted(glob.glob(f"{REPO}/tests/fuzz/corpus/policy/*")):
        with open(path, "rb") as f:
            yield f.read().decode("latin-1").split("\x1e", 3)


def keys_of(part, text):
    if part == 0:
        return {argument.partition("=")[0] for argument in text.split("\t")[6:]}
    return set(re.findall(r"^[ \t]*([a-z_0-9]+)[ \t]*=", text, re.M))


@test
def every_key_is_in_every_place(_):
    table = re.findall(r'\[NSBOX_KEY_\w+\] = \{ "(\w+)"', read("helper/policy/keys.c"))
    assert len(table) > 40, f"the table of keys.c has changed its form: {table}"
    found = [set() for _ in PLACES]
    for parts in inputs():
        for part, text in enumerate(parts):
            found[part] |= keys_of(part, text)
    for place, has in zip(PLACES, found):
        eq(sorted({*table, "profile"} - has), [], f"keys that no input has as {place}")


@test
def every_key_of_a_network_is_there(_):
    names = re.search(r"names\[KEY_COUNT\] = \{(.*?)\};", read("helper/policy/network.c"), re.S)[1]
    found = set()
    for parts in inputs():
        for text in parts[1:3]:
            for section in re.findall(r"^\[network [^\n]*\]\n([^\[]*)", text, re.M):
                found |= keys_of(1, section)
    eq(sorted(set(re.findall(r'"(\w+)"', names)) - found), [], "keys that no input has in a [network]")


main(with_host=False)
