# SPDX-License-Identifier: Apache-2.0
"""Checks against hostile guests are where the mutants, which run by hand, look for them."""

from __future__ import annotations

import pytest

from tests.functional.hostile.mutants import HOSTILE, MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.test)
def test_the_check_stands_where_its_mutant_says(mutant: Mutant) -> None:
    source = (ROOT / "native" / mutant.file).read_text()
    assert source.count(mutant.check) == 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.test)
def test_its_test_exists(mutant: Mutant) -> None:
    file, _, name = mutant.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / HOSTILE / file).read_text()
