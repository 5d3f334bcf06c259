"""Releases that a command names: `2.13.0`, which is torch's, or `onnxruntime==1.32.0`."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ..implementations.loading import is_torch_path
from ..processes.failures import CommandError

FIRST_SUPPORTED = (2, 4)  # of torch
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)


class Release(NamedTuple):
    """A version of a package."""

    package: str
    version: str

    @property
    def title(self) -> str:
        """What a message calls it: torch 2.13.0."""
        return f"{self.package} {self.version}"

    @property
    def folder(self) -> str:
        """The name of its environment: torch-2.13.0."""
        return f"{self.package}-{self.version}"

    @property
    def run(self) -> str:
        """The name of its run, which is that of the version for torch."""
        return self.version if self.package == "torch" else self.folder

    @property
    def requirement(self) -> str:
        """What pip installs: torch==2.13.0."""
        return f"{self.package}=={self.version}"


def parse_releases(texts: Sequence[str]) -> list[Release]:
    """At least two releases of one package, each once. Raises CommandError with one sentence."""
    packages = list(dict.fromkeys(map(_package_of, texts)))
    if len(packages) > 1:
        raise CommandError(
            f"{' and '.join(packages)} are different packages; name versions of one, where a "
            "version alone is of torch"
        )
    releases = [_parse(text) for text in texts]
    if len({Version(release.version) for release in releases}) < max(2, len(releases)):
        raise CommandError("name at least two versions, each once")
    return releases


def _package_of(text: str) -> str:
    """The name before ==, written as pip writes it; torch if there is none. Raises CommandError."""
    name, pinned, _ = text.rpartition("==")
    if not pinned:
        return "torch"
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"{text!a} names no package; write one like onnxruntime==1.32.0, or a version of torch"
        )
    return canonicalize_name(name)


def _parse(text: str) -> Release:
    """One release. Raises CommandError."""
    package, number = _package_of(text), text.rpartition("==")[2]
    try:
        version = Version(number)
    except InvalidVersion:
        raise CommandError(
            f"{number!a} is not a version of {package}; write 2.13.0 or onnxruntime==1.32.0"
        ) from None
    if package == "torch" and version.release < FIRST_SUPPORTED:
        first = ".".join(map(str, FIRST_SUPPORTED))
        raise CommandError(f"torch {version} is too old; {first} is the first supported version")
    return Release(package, full_version(str(version)))


def full_version(version: str) -> str:
    """The version with three numbers: 2.13 is 2.13.0, as for pip."""
    release, plus, local = version.partition("+")
    return f"{release}.0{plus}{local}" if re.fullmatch(r"\d+\.\d+", release) else version


def find_problem(
    package: str, implementations: Sequence[str], requirements: Sequence[str], paths: Sequence[str]
) -> str:
    """Why the options do not fit a package or each other, as a sentence; empty if they do.
    `requirements` are packages to install with it."""
    if package != "torch" and not implementations:
        return (
            f"{package} does not say what to judge; "
            "name what uses it with --implementation module:object"
        )
    if implementations and paths:
        return "--implementation replaces --path; leave it out"
    for name in implementations:
        if is_torch_path(name):
            return (
                f"{name!a} does not name an implementation; "
                "expected module:object or file.py:object"
            )
    for text in requirements:
        try:
            Requirement(text)
        except InvalidRequirement:
            return f"{text!a} is not a package to install; write one like onnx or onnx==1.21.0"
    return ""
