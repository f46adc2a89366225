"""Verbs as a table: a verb is imported when it runs, so that ``--help`` is quick."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from bros_sim.core.errors import InputError, RunStopped

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
MARKUP: Any = "markdown"  # how help is written


def say(line: str) -> None:
    """One line of diagnostics."""
    sys.stderr.write(f"{line}\n")


def write(text: str) -> None:
    """One line of the result, or several."""
    sys.stdout.write(f"{text}\n")


@dataclass(frozen=True)
class Verb:
    """``module:function`` below ``bros_sim.cli``, and the first line of its help."""

    target: str
    help: str

    def command(self, name: str) -> Any:  # noqa: ANN401 - a click command, from typer
        """Import the verb."""
        module, _, function = self.target.partition(":")
        single = typer.Typer(add_completion=False, rich_markup_mode=MARKUP)
        single.command(name)(getattr(importlib.import_module(f"bros_sim.cli.{module}"), function))
        return typer.main.get_command(single)


@dataclass(frozen=True)
class Verbs:
    """Verbs below a common name."""

    help: str
    verbs: Mapping[str, Verb]

    def command(self, name: str) -> Any:  # noqa: ANN401 - a click group, from typer
        """A group of them."""
        group = LazyGroup(
            name=name, help=self.help, commands=_listed(self.verbs), no_args_is_help=True,
            rich_markup_mode=MARKUP,
        )  # fmt: skip
        group.verbs = self.verbs
        return group


def _listed(verbs: Mapping[str, "Verb | Verbs"]) -> dict[str, Any]:
    return {n: TyperCommand(n, help=v.help, rich_markup_mode=MARKUP) for n, v in verbs.items()}


class LazyGroup(TyperGroup):
    """Lists verbs from their table, and imports the one that runs."""

    verbs: Mapping[str, Verb | Verbs] = {}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own
        """The verb that the first argument names."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, self.verbs[str(name)].command(str(name)), rest


class RootGroup(LazyGroup):
    """Turns what users can cause into a message; a traceback is always a bug of ours."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(*args, **(options | {"commands": _listed(self.verbs)}))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own signature
        """Run a verb; bad input ends with code 2, Ctrl-C with 130."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # typer ends quietly
        except InputError as error:
            text, code = "\n".join(error.lines), BAD_INPUT
        except RunStopped as error:
            text, code = str(error), FAILED
        except KeyboardInterrupt:
            text, code = "interrupted", INTERRUPTED
        except OSError as error:
            text, code = f"bros-sim: {error}", FAILED
        say(text)
        raise typer.Exit(code)
