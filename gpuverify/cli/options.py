"""Options and steps that `check` and `appraise` share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from gpuverify.model.evidence import Evidence
    from gpuverify.model.policy import Policy
    from gpuverify.model.sale import SaleClaim
    from gpuverify.model.verdict import Result
    from gpuverify.refdb import Database

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of each input: judge it against this claim, by this policy.

    Attributes:
        database: Reference data.
        policy: What a verdict requires.
        sale: What was claimed.
        gpus: GPUs named with --gpu, none for all.
    """

    database: Database
    policy: Policy
    sale: SaleClaim
    gpus: tuple[str, ...] = ()

    def put(self, evidence: Evidence, *, challenge: bytes | None = None) -> Result:
        """Judge one read-out.

        Args:
            evidence: The read-out.
            challenge: The challenge that attestation reports have to answer, None for none.

        Raises:
            UsageError: It has no such GPU as --gpu names.
        """
        from gpuverify.appraise import appraise
        from gpuverify.collect.join import select_devices

        selected = select_devices(evidence.devices, self.gpus, evidence.origin)
        return appraise(
            evidence,
            self.sale,
            self.policy,
            self.database,
            selected=selected or None,
            now_ms=time.time_ns() // 1_000_000,
            challenge=challenge,
        )


_SALE_OPTIONS = (
    click.option(
        "--gpu",
        "gpus",
        multiple=True,
        metavar="N|UUID",
        help="Judge this GPU only: index, UUID or PCI bus id. Repeatable.",
    ),
    click.option(
        "--claim",
        metavar="PRODUCT|FILE",
        help="What was sold: a product id, a name as NVML prints it, or a TOML file of [[item]].",
    ),
    click.option("--memory", metavar="SIZE", help="Memory label of the product sold, e.g. 80GB."),
    click.option(
        "--condition",
        type=click.Choice(["new", "refurbished", "used"]),
        help="Condition that was claimed.",
    ),
    click.option(
        "--count", type=click.IntRange(min=1), metavar="N", help="How many boards were sold."
    ),
    click.option(
        "--policy",
        default="standard",
        show_default=True,
        metavar="NAME|FILE",
        help="What a verdict requires: screen, standard, intake, or a TOML file.",
    ),
    click.option("-v", "--verbose", is_flag=True, help="List every finding."),
)


def sale_options(function: Function) -> Function:
    """Add the options of a sale claim and of its judgement to a command.

    Args:
        function: The command's function.
    """
    for option in reversed(_SALE_OPTIONS):
        function = option(function)
    return function


def ask(
    claim: str | None,
    memory: str | None,
    condition: str | None,
    count: int | None,
    policy: str,
    gpus: tuple[str, ...],
) -> Question:
    """Resolve the options before anything slow begins.

    Args:
        claim: Product or claim file.
        memory: Memory label.
        condition: Condition claimed.
        count: Boards sold.
        policy: Policy name or file.
        gpus: GPUs to judge.

    Raises:
        GpuverifyError: The claim or the policy is not what it has to be.
    """
    from gpuverify.appraise.claim import load_sale_claim
    from gpuverify.appraise.policies import load_policy
    from gpuverify.refdb import Database

    database = Database.open()
    return Question(
        database=database,
        policy=load_policy(policy),
        sale=load_sale_claim(claim, memory, condition, count, database),
        gpus=gpus,
    )


def show(result: Result, evidence: Evidence, question: Question, *, verbose: bool) -> str:
    """Lay a result out for standard output.

    Args:
        result: The result.
        evidence: What it was judged on.
        question: What was asked.
        verbose: Whether every finding is listed.
    """
    from gpuverify.render.style import standard_style
    from gpuverify.render.text import Screen, result_text

    return result_text(
        Screen(
            result=result,
            evidence=evidence,
            sale=question.sale,
            style=standard_style(sys.stdout),
            verbose=verbose,
        )
    )
