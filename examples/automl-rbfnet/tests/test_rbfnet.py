"""The example obeys the laws that every plugin obeys."""

from pathlib import Path

import pytest

from automl.core.check import LAWS, Case, Law, check

PACKAGE = Path(__file__).parents[1] / "automl_rbfnet"


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law: Law) -> None:
    (finding,) = check(Case(str(PACKAGE)), [law])
    assert finding.state != "broken", finding.reason
