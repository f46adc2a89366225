"""How the command line ends when something is wrong: lines on stderr and an exit code."""

from typing import Any

import typer
from typer.core import TyperGroup

from bros_sim.core.errors import InputError, RunStopped
from bros_sim.report.terminal import say

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


class VerbGroup(TyperGroup):
    """Turns what users can cause into a message; a traceback is always a bug of ours."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own signature
        """Run a verb; bad input ends with code 2, Ctrl-C with 130."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            for line in error.lines:
                say(line)
            raise typer.Exit(BAD_INPUT) from None
        except RunStopped as error:
            say(str(error))
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise  # typer ends quietly
        except OSError as error:
            say(f"bros-sim: {error}")
            raise typer.Exit(FAILED) from None
