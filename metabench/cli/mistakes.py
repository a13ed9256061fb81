"""What is said of a mistake in the options of a command: one sentence, as of any other mistake."""

from typing import Any

import typer
from typer.core import TyperGroup

from metabench.errors import unknown

Mistake: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What the parser of the command line raises. Where it comes from differs between versions of typer."""
HELP_WAS_SHOWN = "NoArgsIsHelpError"
NUMBERS = {"integer": "a whole number", "float": "a number", "number": "a number"}
"""What an option takes, by a word in what the parser says of another value."""


class Commands(TyperGroup):
    """Commands, of which a mistyped one is answered with the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            raise unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def sentence_of(mistake: Any) -> str:
    """What is wrong with the options or the arguments; empty where the help was shown instead."""
    if type(mistake).__name__ == HELP_WAS_SHOWN:
        return ""
    said = mistake.format_message().rstrip(".")
    said = said[:1].lower() + said[1:]
    context, parameter = getattr(mistake, "ctx", None), getattr(mistake, "param", None)
    if context is None:
        return str(said)
    if hasattr(mistake, "possibilities"):
        known = [name for each in context.command.params for name in each.opts if name.startswith("-")]
        return str(unknown("option", mistake.option_name, [*known, "--help"]))
    number = next((what for word, what in NUMBERS.items() if word in mistake.message), None)
    if parameter is not None and number:
        said = f"{parameter.opts[0]} takes {number}"
    return f"{said}: {context.command_path} --help says what there is"
