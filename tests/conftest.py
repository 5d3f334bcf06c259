"""What all tests share: Hypothesis profiles, options, and a closing account of what was run.

    profile   examples   drawn                  chosen by --hypothesis-profile, else by the
    dev             10   anew in each run       variable HYPOTHESIS_PROFILE, else ci where CI
    full            25   anew in each run       is set, and full elsewhere
    ci              40   the same in each run
    nightly       1000   anew in each run

dev is for the minutes between two edits: it leaves out the tests marked slow, and says so.

A given --hypothesis-seed is obeyed under every profile. One thread for every library, so that a
run does not depend on the machine's width; `pytest -n` is the way to use more cores.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import sys
from collections import Counter, defaultdict
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.errors import InvalidArgument

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
        help="run PyTorch on this device alone (auto: on every device there is)",
    )
    group.addoption(
        "--dtype",
        default="all",
        choices=["all", "float32", "float64"],
        help="run PyTorch in this dtype alone",
    )
    group.addoption(
        "--path", default="all", metavar="NAME", help="run PyTorch along this execution path alone"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Raises UsageError for a name of nothing, which would leave out every test, or end in the
    middle of pytest."""
    path, profile = config.getoption("--path"), config.getoption("--hypothesis-profile") or PROFILE
    try:
        settings.get_profile(profile)
    except InvalidArgument:
        names = "dev, full, ci, nightly"
        raise pytest.UsageError(f"there is no profile {profile!r}; choose from {names}") from None
    if path != "all":
        from torch_impl.execution.catalogue import PATHS

        if path not in PATHS:
            names = ", ".join(PATHS)
            raise pytest.UsageError(f"there is no path {path!r}; choose from all, {names}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.addinivalue_line("markers", "claim(id, ...): rows of the ledger that this test checks")
    config.addinivalue_line("markers", "slow: left out under the dev profile")
    config.addinivalue_line("filterwarnings", "ignore:LSTM with projections:UserWarning")
    if config.getoption("--hypothesis-seed") is not None:
        settings.register_profile("seeded", settings.default, derandomize=False)
        settings.load_profile("seeded")


def pytest_collection_modifyitems(config, items):
    if (config.getoption("--hypothesis-profile") or PROFILE) == "dev":
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run under another profile than dev"))


def pytest_itemcollected(item):
    for marker in item.iter_markers("claim"):
        item.user_properties.extend(("claim", claim) for claim in marker.args)


@pytest.fixture
def record_cases(request):
    """record_cases(path, n): this test ran n cases along that path; counted in the summary."""
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
    outcomes, cases = defaultdict(lambda: defaultdict(set)), Counter()
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "claim":
                    outcomes[value]["failed" if outcome == "error" else outcome].add(report.nodeid)
                elif name.startswith("cases:") and report.when == "call":
                    cases[name.removeprefix("cases:")] += value
    line = terminalreporter.write_line
    terminalreporter.section("account")
    failed = {claim for claim, seen in outcomes.items() if "failed" in seen}
    verified = {claim for claim, seen in outcomes.items() if "passed" in seen} - failed
    for words, claims in [
        ("claims verified", verified),
        ("claims failed", failed),
        ("claims not run", outcomes.keys() - verified - failed),
    ]:
        if claims:
            line(f"{words} ({len(claims)}): {' '.join(sorted(claims, key=_natural))}")
    if verified | failed and hasattr(config, "cache"):  # what `bptt-oracle claims` reads
        failures = config.cache.get("bptt-oracle/failures", {})
        for claim in verified | failed:  # what failed before and did not run now has not passed
            seen = outcomes[claim]
            left = {*failures.get(claim, ())} - seen["passed"] | seen["failed"]
            failures[claim] = sorted(left)
        config.cache.set("bptt-oracle/failures", failures)
    for path, n in sorted(cases.items()):
        line(f"cases along {path}: {n}")
    for reason, n in Counter(
        report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())
    ).items():
        line(f"not run, {n} tests: {reason.removeprefix('Skipped: ')}")
    if "torch" in sys.modules or config.pluginmanager.has_plugin("dsession"):
        import torch  # here already, or in the workers of this run

        if not torch.cuda.is_available():
            line("cuda: not run: no GPU on this machine that this torch can use")
        if not torch.backends.mps.is_available():
            line("mps: not run: no Apple GPU on this machine")


def _natural(claim):
    """A2 before A10."""
    digits = "".join(c for c in claim if c.isdigit())
    return claim[0], int(digits or 0), claim


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
