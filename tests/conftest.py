"""Shared by all tests: Hypothesis profiles, options, and a summary of what was run.

    profile   examples   examples are drawn
    dev             10   anew in each run
    full            25   anew in each run
    ci              40   the same in each run
    nightly       1000   anew in each run

`--hypothesis-profile` chooses the profile, else the variable HYPOTHESIS_PROFILE; the default is ci
if the variable CI is set, and full otherwise. dev is for quick runs between two edits.

Tests marked slow check no claim, and take some seconds of processor time each or together: they
compile, start programs, or record large runs. They are reported as not run unless `--slow` is given
or the profile is nightly.

--hypothesis-seed works under every profile, ci included. Every library uses one thread, so that a
run does not depend on the number of cores. There is one process more than there are processors,
because tests wait for other programs for a fifth of their time; `pytest -n` gives another number.
What torch compiles is kept in pytest's cache, which all processes share.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import sys
from collections import Counter, defaultdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.errors import InvalidArgument

from bptt_oracle.ledger import outcomes
from bptt_oracle.ledger.claims import ids, named_by_tests
from bptt_oracle.ledger.verdicts import commit_of

calm = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=10, **calm)
settings.register_profile("full", max_examples=25, **calm)
settings.register_profile("ci", max_examples=40, derandomize=True, database=None, **calm)
settings.register_profile("nightly", max_examples=1000, **calm)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "full")
settings.load_profile(PROFILE)


def pytest_addoption(parser):
    group = parser.getgroup("bptt-oracle")
    group.addoption(
        "--device",
        default="auto",
        choices=["auto", "cpu", "cuda", "mps"],
        help="run PyTorch only on this device (auto: on every available device)",
    )
    group.addoption(
        "--dtype",
        default="all",
        choices=["all", "float32", "float64"],
        help="run PyTorch only in this dtype",
    )
    group.addoption(
        "--path", default="all", metavar="NAME", help="run PyTorch only along this execution path"
    )
    group.addoption("--slow", action="store_true", help="run the tests marked slow as well")
    group.addoption(
        "--claim",
        action="append",
        default=[],
        metavar="ID",
        help="run only the tests that check this claim, such as B8; may be repeated",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Raises UsageError for an unknown path, claim or profile. The first two would skip every test,
    the last would end in a traceback of pytest.
    """
    path, profile = config.getoption("--path"), config.getoption("--hypothesis-profile") or PROFILE
    try:
        settings.get_profile(profile)
    except InvalidArgument:
        names = "dev, full, ci, nightly"
        raise pytest.UsageError(f"there is no profile {profile!r}; choose from {names}") from None
    unknown = [name for name in config.getoption("--claim") if name not in ids()]
    if unknown:
        raise pytest.UsageError(f"there is no claim {unknown[0]!r}; choose from {', '.join(ids())}")
    if path != "all":
        from torch_impl.execution.catalogue import PATHS

        if path not in PATHS:
            names = ", ".join(PATHS)
            raise pytest.UsageError(f"there is no path {path!r}; choose from all, {names}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    affinity = getattr(os, "sched_getaffinity", None)
    return 1 + (len(affinity(0)) if affinity else os.cpu_count() or 1)


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if hasattr(config, "cache"):  # workers inherit it
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(config.cache.mkdir("compiled")))
    config.addinivalue_line(
        "markers", "claim(id, ...): the rows of the ledger that this test checks"
    )
    config.addinivalue_line("markers", "slow: run with --slow only")
    config.addinivalue_line("filterwarnings", "ignore:LSTM with projections:UserWarning")
    if config.getoption("--hypothesis-seed") is not None:
        settings.register_profile("seeded", settings.default, derandomize=False)
        settings.load_profile("seeded")


def pytest_collection_modifyitems(config, items):
    chosen = set(config.getoption("--claim"))
    if chosen:
        others = [item for item in items if chosen.isdisjoint(_claims_of(item))]
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)
    profile = config.getoption("--hypothesis-profile") or PROFILE
    if not (config.getoption("--slow") or profile == "nightly"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def _claims_of(item):
    return [claim for marker in item.iter_markers("claim") for claim in marker.args]


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem():
    """Attach to each test what the summary needs: its claims, and how many parametrisations its
    function has, which a run of some of them does not show.
    """
    items = yield
    for item in items if isinstance(items, list) else ():
        item.user_properties.extend(("claim", claim) for claim in _claims_of(item))
        item.user_properties.append(("parametrisations", len(items)))
    return items


@pytest.fixture
def record_cases(request):
    """record_cases(path, n) adds n cases along a path to the summary."""
    return lambda path, n: request.node.user_properties.append((f"cases:{path}", n))


def pytest_report_header(config):
    chosen = " ".join(f"--{o}={config.getoption(o)}" for o in ("device", "dtype", "path"))
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    wide = np.finfo(np.longdouble)
    return [
        f"torch {_version('torch')}, numpy {np.__version__}, BLAS {blas['name']} {blas['version']}",
        f"longdouble {wide.nmant + 1} significant bits, threads {os.environ['OMP_NUM_THREADS']}",
        chosen,
    ]


def pytest_terminal_summary(terminalreporter, config):
    line = terminalreporter.write_line
    terminalreporter.section("account")
    records, cases = _outcomes(terminalreporter.stats, config)
    for summary in _claims_summary(records):
        line(summary)
    if records and hasattr(config, "cache"):
        before = outcomes.from_json(config.cache.get(outcomes.CACHE_KEY, {}))
        config.cache.set(outcomes.CACHE_KEY, outcomes.to_json(outcomes.merged(before, records)))
    for path, n in sorted(cases.items()):
        line(f"cases along {path}: {n}")
    for reason, n in Counter(
        report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())
    ).items():
        line(f"not run, {n} tests: {reason.removeprefix('Skipped: ')}")
    if _torch_was_imported(config):
        devices = _devices()
        if "cuda" not in devices:
            line("cuda: not run: no GPU on this machine that this torch can use")
        if "mps" not in devices:
            line("mps: not run: no Apple GPU on this machine")


def _outcomes(stats, config):
    """The outcomes of the tests that check claims, and the number of cases along each path."""
    found, counts, cases = defaultdict(dict), {}, Counter()
    for outcome, reports in stats.items():
        for report in reports:
            properties = [*getattr(report, "user_properties", ())]
            names = {name for name, _ in properties}
            for name, value in properties:
                if name.startswith("cases:") and report.when == "call":
                    cases[name.removeprefix("cases:")] += value
            if "claim" not in names:
                continue
            test, _, parametrisation = report.nodeid.removesuffix("]").partition("[")
            counts[test] = dict(properties)["parametrisations"]
            if outcome in ("failed", "error"):
                found[test][parametrisation] = outcomes.FAILED
            elif outcome == "passed":
                found[test].setdefault(parametrisation, outcomes.PASSED)
            elif outcome == "skipped" and "inapplicable" in names:
                found[test][parametrisation] = outcomes.INAPPLICABLE
    if not counts:
        return {}, cases
    devices = _devices() if _torch_was_imported(config) else ["cpu"]
    provenance = outcomes.Provenance(
        commit_of(config.rootpath), str(date.today()), _version("torch"), ", ".join(devices)
    )
    return {
        test: outcomes.Record(provenance, count, found[test]) for test, count in counts.items()
    }, cases


def _claims_summary(records):
    """The claims that this run verified, contradicted or did not fully check, a line each."""
    tests_of = named_by_tests(Path(__file__).parent.rglob("test_*.py"))
    summary = defaultdict(list)
    for claim, tests in sorted(tests_of.items(), key=lambda item: _natural(item[0])):
        if any(test in records for test in tests):
            word = outcomes.verdict(tests, records, holds=True)
            partial = word not in (outcomes.VERIFIED, outcomes.FAILED)
            summary["not fully run" if partial else word].append(
                f"{claim} {word.removesuffix(' ran')}," if partial else claim
            )
    for word in (outcomes.VERIFIED, outcomes.FAILED, "not fully run"):
        if summary[word]:
            yield f"claims {word} ({len(summary[word])}): {' '.join(summary[word]).rstrip(',')}"


def _torch_was_imported(config):
    """Whether torch is here, or in the workers of this run."""
    return "torch" in sys.modules or config.pluginmanager.has_plugin("dsession")


def _devices():
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["cpu", *(name for name, here in present.items() if here)]


def _natural(claim):
    """A2 before A10."""
    digits = "".join(c for c in claim if c.isdigit())
    return claim[0], int(digits or 0), claim


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
