"""A command line that cannot be read, as one sentence."""

from typing import Any

_INVALID = "Invalid value for "


def usage_sentence(error: Any) -> str:
    """What came, what was expected, and the help that says more. `error` is a usage error of typer,
    or of the click that earlier versions of typer use."""
    message = error.format_message().rstrip(".?").replace(". Did you mean ", "; perhaps ")
    if message.startswith(_INVALID):
        message = _invalid_value(error, message)
    context = getattr(error, "ctx", None)
    command = "bptt-oracle" if context is None else context.command_path
    one_line = "".join(c if c.isprintable() else " " for c in message)
    return f"{one_line[0].lower()}{one_line[1:]}; see `{command} --help`"


def _invalid_value(error: Any, message: str) -> str:
    """The option, and what is wrong with its value. Newer versions of typer have the words of
    Pydantic, which omit the value."""
    hint, _, words = message.removeprefix(_INVALID).partition(": ")
    option = hint.replace("'", "")
    expected = words.removeprefix("Input ")
    if expected == words:
        return f"{option}: {words.removeprefix('Value error, ')}"
    came = error.__cause__.errors()[0]["input"]
    return f"{option} {expected.partition(', unable to')[0]}, not {came!r}"
