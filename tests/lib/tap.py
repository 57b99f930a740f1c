"""TAP for the Python suites: each @test is one line, named by its function.

    @test
    def a_session_has_its_own_hostname(h): ...

    main(setup)     # boots a throwaway host, setup(h), then every test in order

Words on the command line choose the tests whose names contain one of them.
"""

import os
import signal
import sys
import time
import traceback

_tests = []
_count = 0
_failed = 0


class Skip(Exception):
    pass


def skip(reason):
    raise Skip(reason)


def test(function=None, *, timeout=60):
    def register(f):
        _tests.append((f, timeout))
        return f
    return register(function) if function else register


def _line(ok, name, note=""):
    global _count, _failed
    _count += 1
    _failed += not ok
    print(f"{'ok' if ok else 'not ok'} {_count} - {name}{note}", flush=True)


def diagnose(text, most=40):
    lines = str(text).splitlines()
    if len(lines) > most:
        lines[most // 2:-most // 2] = [f"... {len(lines) - most} lines ..."]
    for line in lines:
        print("# " + line[:2000], flush=True)


def eq(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what or 'value'}: {got!r}, should be {want!r}")


def contains(text, part, what=""):
    if part not in text:
        raise AssertionError(f"{what or 'text'} lacks {part!r}: {text!r}")


def lacks(text, part, what=""):
    if part in text:
        raise AssertionError(f"{what or 'text'} has {part!r}: {text!r}")


def _alarm(_signum, _frame):
    raise AssertionError("the test ran out of time")


def _where(error):
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename == os.path.abspath(sys.argv[0])] or frames
    return f"{os.path.basename(ours[-1].filename)}:{ours[-1].lineno}: {ours[-1].line}"


def _run(function, timeout, host):
    name = function.__name__.replace("_", " ")
    mark = host.log_mark()
    start = time.monotonic()
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(timeout)
    try:
        function(host)
        signal.alarm(0)
        _line(True, name)
    except Skip as reason:
        signal.alarm(0)
        _line(True, name, f" # SKIP {reason}")
    except Exception as error:
        signal.alarm(0)
        _line(False, name)
        diagnose(_where(error))
        diagnose(f"{type(error).__name__}: {error}")
        diagnose(host.log_since(mark) or "(nothing was logged)")
    if os.environ.get("NSBOX_TEST_TIMES"):
        diagnose(f"{time.monotonic() - start:.2f} s")
    try:
        signal.alarm(30)
        host.settle()
    except Exception as error:
        diagnose(f"cleaning up after {name!r}: {error}")
    finally:
        signal.alarm(0)


class _NoHost:
    """For suites that need no throwaway host of their own."""
    log_mark = staticmethod(lambda: 0)
    log_since = staticmethod(lambda mark=0: "(no host, no log)")
    settle = staticmethod(lambda: None)


def main(setup=None, before_each=None, with_host=True):
    from host import Host
    wanted = sys.argv[1:]
    host = Host() if with_host else _NoHost()
    if setup:
        try:
            setup(host)
        except Exception as error:
            _line(False, "the host is set up")
            diagnose("".join(traceback.format_exception(error)))
            diagnose(host.log_since(0))
            print(f"1..{_count}", flush=True)
            sys.exit(1)
    for function, timeout in _tests:
        if wanted and not any(w in function.__name__ for w in wanted):
            continue
        if before_each:
            before_each(host)
        _run(function, timeout, host)
    print(f"1..{_count}", flush=True)
    sys.exit(1 if _failed else 0)
