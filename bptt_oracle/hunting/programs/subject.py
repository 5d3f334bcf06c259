"""What is hunted: a subject draws programs, runs them and prints them. The engine knows no more."""

from collections.abc import Callable
from typing import NamedTuple

from .fields import Fields, Program

SYMPTOMS = (  # the worst first
    "silent wrong gradient",
    "silent wrong value",
    "memory unsafety",
    "accepted bad input",
    "crash",
    "rejected valid input",
)
RIGHT, UNSUPPORTED = "", "unsupported"  # what torch says that it does not have is not a find


class Outcome(NamedTuple):
    """What a program did: one of SYMPTOMS, RIGHT or UNSUPPORTED."""

    symptom: str = RIGHT
    tensor: str = ""  # the worst
    R: float = 0.0  # its error over its noise
    detail: str = ""  # expected and actual, in one line


class Subject(NamedTuple):
    """A kind of program.

    tidy     the program with fields that have no effect set plain; None for one that makes no
             sense. Programs are tidied before they run.
    attempt  runs a program and judges it. It may end its process.
    text     the program in torch and NumPy alone, given its outcome.
    """

    name: str
    fields: Fields
    tidy: Callable[[Program], Program | None]
    attempt: Callable[[Program], Outcome]
    text: Callable[[Program, Outcome], str]
