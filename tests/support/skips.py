"""Skipping a parametrisation that does not exist on this machine."""

import pytest


def skip_inapplicable(request, reason):
    """Skip this test because it does not exist on this machine: there is no such device, or torch
    has no such kernel there.

    A claim can be verified without it. A test that is skipped by choice, or because a program is
    not installed, counts as not run.
    """
    request.node.user_properties.append(("inapplicable", True))
    pytest.skip(reason)
