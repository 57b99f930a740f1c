#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Every message that nsbox can give is in docs/troubleshooting.md.

A message is a string literal given to one of the functions below, in the module, the keeper, init or
the command. What of it is looked for is its longest piece between two conversions: that piece has to
be somewhere in the guide, as it is, a line break being a blank.
"""

import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.realpath(os.path.join(HERE, "../.."))
GUIDE = "docs/troubleshooting.md"

# not nsbox_find: doctor's findings bring their own remedy
FUNCTIONS = r"\b(nsbox_error_(?:say|set|wrap)|(?:pam_|v)?syslog|pam_error|wrong|perror)\s*\("
LITERAL = r'"((?:[^"\\]|\\.)*)"'
# or a literal, in which one does not begin
COMMENT = re.compile(LITERAL + r"|'(?:[^'\\]|\\.)'|/\*.*?\*/", re.S)


def call_at(text, start):
    """The arguments of the call whose bracket is at start - 1, literals intact."""
    depth, at = 1, start
    while depth:
        literal = re.compile(LITERAL, re.S).match(text, at)
        if literal:
            at = literal.end()
            continue
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[start:at - 1]


def formats(arguments):
    """The literals of a call; those that belong together are one, a macro between them a conversion."""
    arguments = re.sub(r'"\s*PRI[a-z]*(\d+)\s*"', "u", arguments)
    arguments = re.sub(r'(?<=")\s*\b[A-Z][A-Z_]+\b(?=\s*")', ' "%s"', arguments)
    arguments = re.sub(r'\b[A-Z][A-Z_]+\b(?=\s*")', '"%s"', arguments)
    found = re.findall(LITERAL, re.sub(r'"\s*"', "", arguments))
    return [m for m in found if len(stable(m)) > 2]


def plain(text):
    return re.sub(r"\s+", " ", text.replace('\\"', '"').replace("\\n", " ")).strip()


def stable(message):
    """The longest piece without a conversion."""
    pieces = re.split(r"%[-0-9.*+ #]*(?:hh|h|ll|l|z|j)?[a-zA-Z]", message.replace("%%", "\0"))
    return plain(max(pieces, key=lambda piece: len(plain(piece))).replace("\0", "%"))


def messages():
    """{stable piece: [file:line]} of the whole source."""
    found = {}
    for path in sorted(glob.glob(REPO + "/pam_nsbox/*.c") + glob.glob(REPO + "/helper/*/*.c")):
        with open(path) as f:
            text = COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m[0]) if m[0].startswith("/*") else m[0], f.read())
        for m in re.finditer(FUNCTIONS, text):
            for message in formats(call_at(text, m.end())):
                where = f"{os.path.relpath(path, REPO)}:{text.count(chr(10), 0, m.start()) + 1}"
                found.setdefault(stable(message), []).append(where)
    return found


def main():
    found = messages()
    try:
        with open(os.path.join(REPO, GUIDE)) as f:
            guide = plain(f.read())
    except FileNotFoundError:
        guide = ""
    if sys.argv[1:] == ["--list"]:
        for piece, where in sorted(found.items(), key=lambda item: item[1]):
            print(f"{where[0]}\t{piece}")
        return 0
    # A short piece is anywhere: it has to begin a code span.
    missing = {piece: where for piece, where in found.items() if (piece if len(piece) > 11 else "`" + piece) not in guide}
    print(f"{'not ' if len(found) < 200 else ''}ok 1 - the messages are found ({len(found)})")
    print(f"{'not ' if missing else ''}ok 2 - every message is in {GUIDE}")
    for piece, where in sorted(missing.items(), key=lambda item: item[1]):
        print(f"# {where[0]}: {piece}")
    print("1..2")
    return 1 if missing or len(found) < 200 else 0


if __name__ == "__main__":
    sys.exit(main())
