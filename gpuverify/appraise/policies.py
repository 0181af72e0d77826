"""Policies: three built in, or a strict TOML file without code."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from gpuverify.appraise import strict_toml
from gpuverify.codec.text import printable
from gpuverify.errors import MissingInputError, PolicyError
from gpuverify.model.claims import Basis
from gpuverify.model.finding import Group
from gpuverify.model.policy import Policy, Thresholds

BUILT_IN = ("screen", "standard", "intake")
DEFAULT = "standard"
_FOLDER = Path(__file__).parent / "data"
_BASES = tuple(basis.value for basis in Basis)
_NUMBERS = tuple(
    field.name
    for field in dataclasses.fields(Thresholds)
    if field.name not in ("require_signed_module", "driver_min")
)
"""Thresholds that a file may set; the other two have keys of their own."""


def load_policy(name_or_path: str = DEFAULT) -> Policy:
    """Load a built-in policy by name, or a policy file.

    A file gets the name `custom:<sha256>`, whatever it calls itself, and may not call itself by a
    built-in name. One that asks for less than the default policy anywhere (a basis, a rule waved
    through, a looser threshold) is accepted, but never ends in consistent.

    Args:
        name_or_path: `screen`, `standard`, `intake`, or the path of a TOML file.

    Returns:
        The policy with the digest of its bytes.

    Raises:
        MissingInputError: There is no such file.
        PolicyError: The file is not a policy; the message says where and why.
    """
    if name_or_path in BUILT_IN:
        data = strict_toml.read_bytes(_FOLDER / f"{name_or_path}.toml")
        return _policy(data, name_or_path, built_in=True)
    absent = MissingInputError(
        f"'{printable(name_or_path, 200)}': no policy of that name ({', '.join(BUILT_IN)}) and no"
        " such file"
    )
    if not name_or_path:
        raise absent
    try:
        data = strict_toml.read_bytes(Path(name_or_path))
    except MissingInputError as error:
        raise absent if isinstance(error.__cause__, FileNotFoundError) else error from None
    return _policy(data, name_or_path, built_in=False)


def _policy(data: bytes, origin: str, *, built_in: bool) -> Policy:
    """Build a policy from the bytes of its file."""
    sha256 = hashlib.sha256(data).hexdigest()
    table = strict_toml.Table(origin, "policy", strict_toml.parse(data, origin))
    if table.take("schema", int, needed=True) != 1:
        raise PolicyError(f"{origin}: schema has to be 1")
    name = table.take("name", str, needed=True)
    if not built_in and name in BUILT_IN:
        raise PolicyError(
            f"{origin}: name = {name!r} belongs to a built-in policy; give yours another name"
        )
    required = _required(table.take("required", dict, {}), origin)
    neighbours = table.choice("neighbours", (*_BASES, "none"), "none")
    floor = Basis(neighbours) if neighbours not in (None, "none") else None
    optional = _texts(table.take("optional_rules", list, []), origin)
    policy = Policy(
        name=name if built_in else f"custom:{sha256}",
        sha256=sha256,
        text=table.take("text", str, needed=True),
        required=required,
        neighbours=floor,
        measured_neighbours=table.take("measured_neighbours", bool, default=False),
        optional_rules=optional,
        history_if_new=table.take("history_if_new", bool, default=True),
        driver_min=table.take("driver_min", int, 0),
        signed_module=table.take("signed_module", bool, default=False),
        condition_exit=table.choice(
            "condition_exit", ("attention", "defective", "never"), "defective"
        )
        or "defective",
        measure=table.choice("measure", ("none", "quick", "full"), "none") or "none",
        may_be_consistent=table.take("may_be_consistent", bool, default=True),
        thresholds=_thresholds(table.take("thresholds", dict, {}), origin),
    )
    table.done()
    return dataclasses.replace(
        policy,
        thresholds=_with_switches(policy),
        may_be_consistent=policy.may_be_consistent and (built_in or not _weaker(policy)),
    )


def _weaker(policy: Policy) -> bool:
    """Whether an own policy asks for less than the default one anywhere.

    A larger number of every threshold lets more pass.
    """
    default = load_policy(DEFAULT)
    if default.neighbours is None or policy.neighbours is None:
        return True
    if not policy.neighbours.at_least(default.neighbours):
        return True
    for group, basis in default.required.items():
        if group == Group.HISTORY.value and policy.history_if_new:
            continue  # wanted where new is claimed, and nowhere else
        if group not in policy.required or not policy.required[group].at_least(basis):
            return True
    looser = any(
        getattr(policy.thresholds, field) > getattr(default.thresholds, field) for field in _NUMBERS
    )
    return looser or not set(policy.optional_rules) <= set(default.optional_rules)


def _with_switches(policy: Policy) -> Thresholds:
    """Hand the policy's switches to the rules, which see thresholds alone."""
    return dataclasses.replace(
        policy.thresholds,
        require_signed_module=policy.signed_module,
        driver_min=policy.driver_min,
    )


def _required(value: dict[str, Any], origin: str) -> dict[str, Basis]:
    """Read the table of required groups."""
    table = strict_toml.Table(origin, "[required]", value)
    found: dict[str, Basis] = {}
    for group in Group:
        basis = table.choice(group.value, _BASES)
        if basis is not None:
            found[group.value] = Basis(basis)
    table.done()
    return found


def _texts(value: list[Any], origin: str) -> tuple[str, ...]:
    """Read a list of texts."""
    if not all(isinstance(item, str) for item in value):
        raise PolicyError(f"{origin}: optional_rules has to be a list of rule ids")
    from gpuverify.rules import RULES

    unknown = sorted(set(value) - {rule.id for rule in RULES})
    if unknown:
        raise PolicyError(f"{origin}: optional_rules: no such rule: {', '.join(unknown)}")
    return tuple(value)


def _thresholds(value: dict[str, Any], origin: str) -> Thresholds:
    """Read the table of thresholds."""
    table = strict_toml.Table(origin, "[thresholds]", value)
    numbers: dict[str, Any] = {}
    for name in _NUMBERS:
        number = table.take(name, int)
        if number is not None:
            if not 0 <= number < 1 << 48:
                raise PolicyError(f"{origin}: [thresholds]: {name} is out of range")
            numbers[name] = number
    table.done()
    return Thresholds(**numbers)
