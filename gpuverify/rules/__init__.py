"""The rules: pure comparisons over the model, in the order in which findings are listed."""

from __future__ import annotations

from gpuverify.model.finding import Rule
from gpuverify.rules import (
    batch,
    board,
    capacity,
    condition,
    counting,
    cross_check,
    device_signed,
    driver_files,
    environment,
    faults,
    history,
    identity,
    interposers,
    lattice,
    link,
    measured_capacity,
    measured_rates,
    measured_run,
    measured_silicon,
    product,
    service,
    silicon,
)

RULES: tuple[Rule, ...] = (
    *product.RULES,
    *cross_check.RULES,
    *identity.RULES,
    *silicon.RULES,
    *board.RULES,
    *capacity.RULES,
    *lattice.RULES,
    *link.RULES,
    *condition.RULES,
    *faults.RULES,
    *service.RULES,
    *history.RULES,
    *environment.RULES,
    *driver_files.RULES,
    *interposers.RULES,
    *measured_silicon.RULES,
    *measured_capacity.RULES,
    *measured_rates.RULES,
    *measured_run.RULES,
    *device_signed.RULES,
    *batch.RULES,
    *counting.RULES,
)
"""Every rule there is. Nothing registers itself: a rule that is not named here does not run."""
