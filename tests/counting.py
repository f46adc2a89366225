"""Work counted instead of timed: a machine's speed says nothing about the code."""

import sys


def calls_of(function, *arguments):
    """How many calls, of Python and C functions, one call of ``function`` makes."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return calls
