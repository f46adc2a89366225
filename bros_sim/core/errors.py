"""The one way to say that an input is wrong."""


class InputError(Exception):
    """Bad input. Each fault is one finished line: ``file:line:column: path: what is wrong``.

    Library code raises it and never prints; the command line prints every fault to stderr and
    exits with code 2.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class RunStopped(Exception):
    """A run cannot go on, through no fault of its input: one finished line, exit code 1."""


class LawBroken(AssertionError):
    """A law of docs/invariants.md does not hold: a bug in the simulator or in a policy."""
