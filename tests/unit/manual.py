#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The manual says all that the code has: every key with its default and its words, every verb, option,
exit status, member of JSON and file; and its pages build and render without a warning."""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.realpath(os.path.join(HERE, "../.."))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from tap import contains, eq, main, skip, test

PAGES = ("nsbox.1", "nsbox.conf.5", "nsbox.7", "nsbox-keeper.8", "pam_nsbox.8")
# What begins so in the code is a file that an administrator may meet.
FILES = r"/(?:etc|run|var|usr|lib|dev/log)\b"
# What of these is not for the manual, and why.
NOT_FILES = {
    r"/etc/pam\.d/.+|/usr/lib/pam\.d/.+": "the file of a service",
    r".*\.new": "a file that takes the place of another at once",
    r"/run/systemd/(system|sessions/.*)": "systemd's own",
    r"/etc/%.*": "a name of the table in etc.c",
    r"/etc/mtab": "a link of every system",
    r"/(usr/)?lib(32|64|x32)?(/.*security)?": "where libpam may be",
    r"/var/(cache|lib|log|spool|lock|run)": "empty in a box",
    r"/run/(lock|log|user|log/wtmp|log/lastlog)": "empty in a box",
    r"/usr/s?bin(/.*)?|/usr/local/bin:.*": "programs of others",
    r"/usr/local(/lib/.*)?": "a directory of the host",
    r"/var/(lib/systemd/linger|spool/cron/.*|spool/at.*|mail.*)": "what doctor looks at, which is not nsbox's",
    r"/var/lib/(dpkg/status|rpm|pacman/local)|/lib/apk/db/installed|/etc/(os-release|debian_version)|/usr/(bin|lib)|/lib":
        "by which an image is told from another",
    r"(/etc|/run|(/usr(/local)?)?/lib)/systemd/system/user@\.service\.d": "what doctor looks at, which is systemd's",
    r"/etc/(ssh/.*|init\.d.*|crontab.*|cron\..*|at\..*|security.*)": "what doctor looks at, which is not nsbox's",
    r"/usr|/etc|/run|/var|/lib": "the directory",
}


def source(pattern):
    """{path: text} of the files, comments taken out."""
    found = {}
    for path in sorted(glob.glob(f"{REPO}/{pattern}")):
        with open(path) as f:
            found[os.path.relpath(path, REPO)] = re.sub(r"/\*.*?\*/", " ", f.read(), flags=re.S)
    assert found, f"nothing is {pattern}"
    return found


def one(path):
    return source(path)[path]


def page(name):
    """A page as written, its markup taken out."""
    with open(f"{REPO}/docs/man/{name}.scd") as f:
        text = f.read()
    return re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)\*|(?<![\w\\])_(?=[\w/<])|(?<=[\w>.*])_(?!\w)", "", text))


def raw(name):
    with open(f"{REPO}/docs/man/{name}.scd") as f:
        return f.read()


def section(name, heading):
    found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^# |\Z)", raw(name), re.S | re.M)
    assert found, f"{name} has no section {heading}"
    return found[1]


# ------------------------------------------------------------ keys

def keys():
    """{key: (default, words)} of the table in keys.c."""
    text = one("helper/policy/keys.c")
    words = {name: re.findall(r'"([^"]*)"', body)
             for name, body in re.findall(r"\*const (\w+_words)\[\] = \{(.*?)\};", text, re.S)}
    macros = {name: "".join(re.findall(r'"([^"]*)"', body))
              for name, body in re.findall(r"#define (\w+)((?:[^\n]*\\\n)*[^\n]*)", text)}
    found = {}
    text = text[text.index("keys[NSBOX_KEY_COUNT] = {") + 25:]
    for entry in re.findall(r"\[NSBOX_KEY_\w+\] = \{(.*?)\},\s*(?=\[NSBOX_KEY_|\};)", text, re.S):
        name, default = re.match(r'\s*"(\w+)", (?:"([^"]*)"|\w+)', entry).groups()
        if default is None:
            default = macros[re.match(r'\s*"\w+", (\w+)', entry)[1]]
        of_key = [word for group in re.findall(r"\w+_words", entry) for word in words[group]]
        found[name] = (default, of_key)
    enum = re.search(r"enum nsbox_key \{(.*?)\};", one("helper/policy/policy.h"), re.S)[1]
    eq(len(found), len(re.findall(r"NSBOX_KEY_\w+", enum)) - 1, "keys found in keys.c")
    return found


def entries():
    """{key: (head, body)} of nsbox.conf(5)."""
    return {name: (head, body) for head, name, body in
            re.findall(r"^(\*(\w+)\* = .*)\n((?:(?:\t.*)?\n)+)", raw("nsbox.conf.5"), re.M)}


@test
def every_key_has_an_entry_with_its_words_and_its_default(_):
    missing, there = [], entries()
    for key, (default, words) in keys().items():
        head, body = there.get(key, ("", ""))
        if not head:
            missing.append(f"no entry for {key}")
            continue
        missing += [f"{key} lacks the word {word}" for word in words if f"*{word}*" not in head]
        said = re.search(r"Default: \*([^*]*)\*\.", body)
        said = said and re.sub(r"\s+", " ", said[1])
        if said != default:
            missing.append(f"{key}: the page's default is {said}, the code's {default}")
    eq(missing, [], "what nsbox.conf(5) lacks")


@test
def no_entry_is_about_a_key_that_is_not_there(_):
    eq(sorted(set(entries()) - set(keys())), ["profile"], "entries that are no key of the table")


@test
def what_can_be_expanded_is_explained(_):
    letters = re.search(r'strchr\("(\w+%)", \*text\)', one("helper/policy/expand.c"))[1]
    for letter in letters:
        assert re.search(rf"^\*%{letter}\*$", raw("nsbox.conf.5"), re.M), f"%{letter} is not in nsbox.conf(5)"


@test
def the_capabilities_that_are_never_given_are_named(_):
    never = re.findall(r'\{ "(\w+)", "[^"]+" \}', one("helper/policy/caps.c"))
    assert never, "no such capability in caps.c"
    said = re.search(r"Never given: ([^.]*)\.", raw("nsbox.conf.5"))[1]
    eq(sorted(re.findall(r"\w+", said)), sorted(never), "capabilities that are never given")


# ------------------------------------------------------------ the command

def verbs():
    """{verb: synopsis} of main.c's table."""
    text = re.sub(r'"\s*"', "", one("helper/cli/main.c"))
    for path, code in source("helper/cli/*.c").items():
        for name, value in re.findall(r'#define (\w+) "([^"]*)"', code):
            text = re.sub(rf"\b{name}\b", f'"{value}"', text)
    table = re.search(r"verbs\[\] = \{(.*?)\n\};", text, re.S)[1]
    found = dict(re.findall(r'\{ "(\w+)", nsbox_cli_\w+, \w+,\s*"([^"]*)"', table))
    declared = re.findall(r"int nsbox_cli_(\w+)\(int argc, char \*\*argv\)", one("helper/cli/cli.h"))
    eq(sorted(found), sorted(declared), "verbs of main.c and cli.h")
    return found


@test
def every_verb_has_a_synopsis_and_a_section(_):
    for verb in verbs():
        assert re.search(rf"^\*nsbox {verb}\b", raw("nsbox.1"), re.M), f"{verb} is not in the synopsis"
        assert re.search(rf"^## nsbox {verb}\b", raw("nsbox.1"), re.M), f"{verb} has no section"


@test
def every_option_is_in_the_page(_):
    verbs()
    # gc.c has one of the keeper's, whose page says it.
    options = {o for path, text in source("helper/cli/*.c").items() if not path.endswith("/gc.c")
               for o in re.findall(r'"(--[a-z-]+)"', text)}
    synopsis, explained = section("nsbox.1", "SYNOPSIS"), section("nsbox.1", "VERBS")
    for option in sorted(options):
        assert re.search(rf"(?<![-\w]){option}\b", synopsis), f"{option} is not in the synopsis"
        # In a sentence or as a term; or it is what a section is about.
        assert option == "--help" or re.search(rf"^## nsbox \w+ {option}$|^[^#\n]*\*{option}\*", explained, re.M), \
            f"{option} is not explained"


@test
def the_options_of_the_keeper_are_in_its_page(_):
    for option in re.findall(r'"(--[a-z-]+)"', one("helper/keeper/main.c")):
        assert re.search(rf"^\*{option}\*$", raw("nsbox-keeper.8"), re.M), f"{option} is not in nsbox-keeper(8)"


@test
def every_exit_status_is_listed(_):
    said = re.findall(r"\*(\d+)\*", section("nsbox.1", "EXIT STATUS"))
    codes = re.findall(r"NSBOX_EXIT_\w+ = (\d+)", one("helper/cli/cli.h"))
    assert len(codes) >= 3, codes
    for code in [*codes, "0", "126", "127"]:
        contains(said, code, "EXIT STATUS of nsbox(1)")
    for verb, codes in {"check": "034", "doctor": "012"}.items():
        if verb in verbs():
            text = re.search(rf"^## nsbox {verb}\b(.*?)(?=^#)", raw("nsbox.1"), re.S | re.M)[1]
            eq(re.findall(r"\b\d\b", text[text.index("exit status"):]), list(codes), f"exit status of {verb}")


@test
def every_member_of_json_is_explained(_):
    text = raw("nsbox.1")
    for path, code in source("helper/cli/*.c").items():
        calls = re.findall(r'nsbox_json_\w+\(&?\w+, "(\w+)"', code) + re.findall(r'json_origin\(&?\w+, "(\w+)"', code)
        for member in calls:
            assert f"*{member}*" in text, f"{member} of {path} is not in nsbox(1)"


@test
def what_list_prints_is_explained(_):
    heads = re.search(r'printf\((?:ROW|"[^"]*"), ("USER".*?)\);', one("helper/cli/list.c"), re.S)[1]
    for column in re.findall(r'"(\w+)"', heads):
        assert re.search(rf"^\*{column}\*$", raw("nsbox.1"), re.M), f"the column {column} is not in nsbox(1)"


# ------------------------------------------------------------ the module

@test
def every_code_that_the_module_returns_is_listed(_):
    code = one("pam_nsbox/pam_nsbox.c")
    returned = set(re.findall(r"(?:return |, )(PAM_\w+)(?=\)?;)", code)) - {"PAM_TTY", "PAM_RHOST", "PAM_SERVICE"}
    assert len(returned) >= 4, returned
    said = re.findall(r"^(PAM_\w+)$", section("pam_nsbox.8", "RETURN VALUES"), re.M)
    eq(sorted(said), sorted(returned), "RETURN VALUES of pam_nsbox(8)")


@test
def what_the_module_says_is_quoted(_):
    text = page("pam_nsbox.8")
    for said in re.findall(r'pam_(?:error|info|syslog)\([^"]*"((?:no box for|nsbox:)[^"]*)"', one("pam_nsbox/pam_nsbox.c")):
        said = re.sub("%s", "USER", said, count=1) if said.startswith("no box") else said
        contains(text, said.replace("%s", "SENTENCE"), "MESSAGES of pam_nsbox(8)")


@test
def the_arguments_of_its_own_are_in_the_page(_):
    own = re.search(r'exempt\[\] = "(\w+=)"', one("pam_nsbox/answer.c"))[1]
    contains(raw("pam_nsbox.8"), f"*{own}*_GROUP_")


# ------------------------------------------------------------ files

TOKEN = r'"(?:[^"\\\n]|\\.)*"|\b[A-Z][A-Z0-9_]+\b'


def joined(tokens, macros):
    """String literals that belong together, a macro between them being its text or a %s."""
    return "".join(t[1:-1] if t[0] == '"' else macros.get(t, "%s") for t in re.findall(TOKEN, tokens))


def paths():
    """{path: source} of what the code names and FILES matches."""
    everything = {**source("helper/*/*.[ch]"), **source("pam_nsbox/*.[ch]")}
    macros, found = {}, {}
    define = re.compile(rf"^#define (\w+) ((?:(?:{TOKEN})[ \t]*)+)$", re.M)
    for _ in range(3):      # a macro may be made of others
        for code in everything.values():
            for name, value in define.findall(code):
                if '"' in value:
                    macros[name] = joined(value, macros)
    for path, code in everything.items():
        texts = [macros[name] for name, _ in define.findall(code) if name in macros]
        code = re.sub(r"^#.*$", "", code, flags=re.M)
        texts += [joined(run, macros) for run in re.findall(rf"(?:{TOKEN})(?:\s+(?:{TOKEN}))*", code)]
        for text in texts:
            if re.match(FILES, text) and not re.search(r"\s", text):
                found.setdefault(text, path)
    return found


@test
def every_file_is_in_a_page(_):
    manual = "\n".join(map(page, PAGES))
    missing, n = [], 0
    for path, where in sorted(paths().items()):
        if any(re.fullmatch(pattern, path) for pattern in NOT_FILES):
            continue
        n += 1
        plain = re.escape(path)
        plain = re.sub(r"%[a-z]+", r"[\\w<>.-]+", plain)
        if not re.search(plain + r"(?![\w-])", manual):
            missing.append(f"{path} ({where})")
    assert n >= 10, f"only {n} files found in the code"
    eq(missing, [], "files that are in no page")


@test
def what_is_installed_is_in_a_page(_):
    with open(f"{REPO}/Makefile") as f:
        install = re.search(r"^install:.*?\n\n", f.read(), re.S | re.M)[0]
    manual = "\n".join(map(page, PAGES))
    for path, said in {"nsbox-keeper": "/usr/local/libexec/nsbox-keeper", "$(BINDIR)/nsbox": "/usr/local/bin/nsbox",
                       "pam_nsbox.so": "security/pam_nsbox.so", "nsbox/nsbox.conf": "/etc/nsbox/nsbox.conf",
                       "$(DOCDIR)/examples": "/usr/local/share/doc/nsbox/examples"}.items():
        contains(install, path, "make install")
        contains(manual, said, "the manual")


# ------------------------------------------------------------ the pages

def build(directory):
    """Every page built by the Makefile; returns {name: path}."""
    for program in ("scdoc", "man", "groff"):
        if not shutil.which(program):
            skip(f"there is no {program}")
    make("man", f"BUILD={directory}")
    return {name: f"{directory}/man/{name}" for name in os.listdir(f"{directory}/man")}


def make(*words):
    """make as from a shell, whatever make this is started by."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")}
    return quiet(["make", "-s", "-C", REPO, *words], env=env)


def quiet(argv, **more):
    r = subprocess.run(argv, capture_output=True, text=True, **more)
    assert r.returncode == 0 and not r.stderr, f"{' '.join(argv)}: exit {r.returncode}\n{r.stderr}"
    return r.stdout


@test
def the_pages_build_and_render_without_a_warning(_):
    with tempfile.TemporaryDirectory() as directory:
        built = build(directory)
        eq(sorted(built), sorted(PAGES), "pages")
        for name, path in built.items():
            for width in ("60", "80", "120"):
                env = {**os.environ, "MANWIDTH": width, "LC_ALL": "C.UTF-8", "MANOPT": ""}
                text = quiet(["man", "--warnings", "-E", "UTF-8", "-l", path], env=env)
            assert "NAME" in text and "SEE ALSO" in text, f"{name}:\n{text[:400]}"
            quiet(["groff", "-t", "-man", "-ww", "-Tutf8", "-K", "utf8", path])
            # Markup that scdoc took for text.
            for line in text.splitlines():
                assert not re.search(r"(?<![\w/])_[A-Z]+_|\*nsbox|\*--", line), f"{name}: {line}"


@test
def every_page_that_is_named_is_there_and_names_agree(_):
    ours = {re.sub(r"\.(\d)$", r"(\1)", name) for name in PAGES}
    for name in PAGES:
        text = raw(name)
        title = re.match(r"(\S+\(\d\))", text)[1]
        eq(title, re.sub(r"\.(\d)$", r"(\1)", name), f"the title of {name}")
        named = {f"{a}({b})" for a, b in re.findall(r"\*([\w.-]*nsbox[\w.-]*)\*\((\d)\)", text)}
        eq(sorted(named - ours), [], f"pages of ours that {name} names and that are not there")
        also = section(name, "SEE ALSO")
        for other in sorted(ours - {title}):
            page_name, number = other[:-3], other[-2]
            contains(also, f"*{page_name}*({number})", f"SEE ALSO of {name}")


@test
def make_install_installs_what_uninstall_removes(_):
    with tempfile.TemporaryDirectory() as directory:
        os.makedirs(f"{directory}/build")
        places = {"BUILD": directory + "/build", "DESTDIR": directory + "/to", "PREFIX": "/usr", "PAMDIR": "/lib/security",
                  "LIBEXECDIR": "/usr/libexec", "BINDIR": "/usr/bin", "MANDIR": "/usr/share/man", "SYSCONFDIR": "/etc",
                  "DOCDIR": "/usr/share/doc/nsbox", "COMPLETIONS": "/usr/share/bash-completion/completions"}
        words = [f"{name}={place}" for name, place in places.items()]
        # What the programs are does not matter here.
        for name in ("pam_nsbox.so", "nsbox-keeper", "nsbox"):
            open(f"{directory}/build/{name}", "w").close()
        build(f"{directory}/build")
        fake = ["-o", f"{directory}/build/pam_nsbox.so", "-o", f"{directory}/build/nsbox-keeper",
                "-o", f"{directory}/build/nsbox"]
        make(*fake, *words, "install")
        for name in PAGES:
            assert os.path.exists(f"{directory}/to/usr/share/man/man{name[-1]}/{name}"), f"{name} is not installed"
        for path in glob.glob(f"{REPO}/conf/examples/*"):
            there = f"{directory}/to/usr/share/doc/nsbox/examples/{os.path.basename(path)}"
            assert os.path.exists(there), f"{there} is not installed"
        make(*fake, *words, "uninstall")
        left = [os.path.join(d, f) for d, _, files in os.walk(f"{directory}/to") for f in files]
        eq(left, [f"{directory}/to/etc/nsbox/nsbox.conf"], "files that uninstall left")


main(with_host=False)
