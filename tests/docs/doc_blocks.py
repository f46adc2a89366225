"""What the documents show: blocks, commands, inline code, links. No knowledge of bros-sim."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "traces/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
SHELL = {"sh", "bash", "shell", "console"}
PROGRAMS = {
    "bros-sim", "make", "pip", "python", "python3", "pytest", "source", "git", "cd", "export",
    "curl", "wget", "sudo", "apt", "apt-get", "uv", "conda", "docker", "jupyter", "ruff", "mypy",
}  # fmt: skip
"""First words by which a command is known in a block that does not say it is one."""


@dataclass(frozen=True)
class Block:
    """A fenced block, or an indented one, whose language is empty."""

    document: Path
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command line of a document, without its comment."""

    document: Path
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}: {shlex.join(self.words)}"


def blocks(document: Path) -> list[Block]:
    """All blocks of a document, in order."""
    lines = document.read_text(encoding="utf-8").splitlines()
    found, number = [], 0
    while number < len(lines):
        start = number
        if lines[number].startswith("```"):
            language = lines[number][3:].strip()
            number = next(n for n in range(start + 1, len(lines)) if lines[n].startswith("```"))
            body = lines[start + 1 : number]
            found.append(Block(document, start + 2, language, "\n".join(body) + "\n"))
        elif lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            body = [line[4:] for line in lines[start:number]]
            found.append(Block(document, start + 1, "", "\n".join(body) + "\n"))
        number += 1
    return found


def commands(document: Path) -> Iterator[Command]:
    """Every line of a shell block, and in other blocks the lines that start with a program."""
    for block in blocks(document):
        text = block.text.replace("\\\n", "  ")
        for number, line in enumerate(text.splitlines(), block.line):
            if block.language not in SHELL and line.partition(" ")[0] not in PROGRAMS:
                continue
            if words := shlex.split(line.removeprefix("$ "), comments=True):
                yield Command(document, number, tuple(words))


def prose(document: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines outside of blocks."""
    inside = {
        block.line + n
        for block in blocks(document)
        for n in range(-1 if block.language else 0, block.text.count("\n") + 1)
    }
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if number not in inside:
            yield number, line


def inline_code(document: Path) -> Iterator[tuple[int, str]]:
    """Code spans with their lines; a span may run over the end of a line."""
    lines = list(prose(document))
    text = "\n".join(line for _, line in lines)
    for span in re.finditer(r"`([^`]+)`", text):
        yield lines[text.count("\n", 0, span.start())][0], " ".join(span[1].split())


def links(document: Path) -> Iterator[tuple[int, str]]:
    """Targets of links and images."""
    for number, line in prose(document):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            yield number, target
