"""Asking NVML through its Python binding: every call ends as an `Answer`, never as an exception.

The binding is handed in as a module object, so that this file holds for every version of it: a
function that this binding or the driver's library lacks is an answer like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpuverify.model.claims import ClaimStatus

INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
CORRUPTED_INFOROM = 14
GPU_IS_LOST = 15
RESET_REQUIRED = 16
VERSION_MISMATCH = 25

_STATUS = {
    NOT_SUPPORTED: ClaimStatus.NOT_SUPPORTED,
    VERSION_MISMATCH: ClaimStatus.NOT_SUPPORTED,
    NO_PERMISSION: ClaimStatus.NO_PERMISSION,
    NOT_FOUND: ClaimStatus.NOT_FOUND,
    LIBRARY_NOT_FOUND: ClaimStatus.NOT_FOUND,
    FUNCTION_NOT_FOUND: ClaimStatus.NOT_FOUND,
    GPU_IS_LOST: ClaimStatus.DEVICE_LOST,
    10: ClaimStatus.TIMED_OUT,
}

# Names of nvmlReturn_t as NVIDIA's API reference lists them (docs.nvidia.com/deploy/nvml-api);
# kept here because an old binding lacks the newer ones.
_NAMES = dict(
    enumerate(
        (
            "SUCCESS", "UNINITIALIZED", "INVALID_ARGUMENT", "NOT_SUPPORTED", "NO_PERMISSION",
            "ALREADY_INITIALIZED", "NOT_FOUND", "INSUFFICIENT_SIZE", "INSUFFICIENT_POWER",
            "DRIVER_NOT_LOADED", "TIMEOUT", "IRQ_ISSUE", "LIBRARY_NOT_FOUND",
            "FUNCTION_NOT_FOUND", "CORRUPTED_INFOROM", "GPU_IS_LOST", "RESET_REQUIRED",
            "OPERATING_SYSTEM", "LIB_RM_VERSION_MISMATCH", "IN_USE", "MEMORY", "NO_DATA",
            "VGPU_ECC_NOT_SUPPORTED", "INSUFFICIENT_RESOURCES", "FREQ_NOT_SUPPORTED",
            "ARGUMENT_VERSION_MISMATCH", "DEPRECATED", "NOT_READY", "GPU_NOT_FOUND",
            "INVALID_STATE", "RESET_TYPE_NOT_SUPPORTED",
        )
    )
)  # fmt: skip
_NAMES[999] = "UNKNOWN"

NO_SUCH_WRAPPER = "the installed NVML binding lacks the function or its structure"


def code_name(code: int) -> str:
    """Return the name of an nvmlReturn_t, or its number where it has none."""
    name = _NAMES.get(code)
    return f"NVML_ERROR_{name}" if name else f"NVML return code {code}"


def status_of(code: int) -> ClaimStatus:
    """Return the claim status that an nvmlReturn_t other than success means."""
    return _STATUS.get(code, ClaimStatus.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one call ended.

    Attributes:
        call: The function that was asked.
        status: OK, or why there is no value.
        value: What the binding returned, where the status is OK.
        code: The library's return code, 0 for success, None where no call was made.
        text: What stood there instead of a value.
    """

    call: str
    status: ClaimStatus
    value: Any = None
    code: int | None = None
    text: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.status is ClaimStatus.OK

    @property
    def missing(self) -> bool:
        """Whether the function, or this version of its structure, is not there at all."""
        return self.code in (FUNCTION_NOT_FOUND, VERSION_MISMATCH) or (
            self.status is ClaimStatus.NOT_FOUND and self.code is None
        )


def answer_of_code(call: str, code: int, value: Any = None) -> Answer:
    """Build the answer that a raw return code stands for.

    Args:
        call: The function that was asked.
        code: Its nvmlReturn_t.
        value: The value to keep where the code is 0.
    """
    if code == 0:
        return Answer(call=call, status=ClaimStatus.OK, value=value, code=0)
    return Answer(call=call, status=status_of(code), code=code, text=code_name(code))


def escaped_bytes(data: bytes, limit: int = 200) -> str:
    """Show bytes that are no UTF-8: plain ASCII as it is, the rest as hex escapes."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}" for byte in data
    )[:limit]


class NvmlBinding:
    """The `pynvml` module, asked carefully."""

    def __init__(self, module: Any) -> None:
        """Stand over a binding module (nvidia-ml-py, or an old pynvml in front of it)."""
        self._module = module
        self._nvml_error: type[Exception] = module.NVMLError
        # Some versions wrap their unsuffixed functions and raise this instead of "not found".
        self._mismatch: type[Exception] = getattr(
            module, "NVMLLibraryMismatchError", module.NVMLError
        )

    def constant(self, name: str, default: int) -> int:
        """Return a constant of the binding, or `default` where this version lacks it."""
        return int(getattr(self._module, name, default))

    def structure(self, name: str) -> Any:
        """Return a fresh structure of the binding, or None where this version lacks it."""
        kind = getattr(self._module, name, None)
        return None if kind is None else kind()

    def ask(self, name: str, *arguments: Any, **keywords: Any) -> Answer:
        """Call one wrapper of the binding.

        Args:
            name: The wrapper's name.
            *arguments: Its positional arguments.
            **keywords: Its keyword arguments.

        Returns:
            The answer; text that is no UTF-8 is MALFORMED with the bytes shown.
        """
        wrapper = getattr(self._module, name, None)
        if wrapper is None:
            return Answer(call=name, status=ClaimStatus.NOT_FOUND, text=NO_SUCH_WRAPPER)
        try:
            value = wrapper(*arguments, **keywords)
        except self._nvml_error as error:
            return answer_of_code(name, int(getattr(error, "value", 999)))
        except self._mismatch:
            return answer_of_code(name, FUNCTION_NOT_FOUND)
        except UnicodeDecodeError as error:
            return Answer(
                call=name,
                status=ClaimStatus.MALFORMED,
                code=0,
                text=escaped_bytes(bytes(error.object)),
            )
        except TypeError:
            # An old binding's function of the same name takes other arguments.
            return Answer(call=name, status=ClaimStatus.NOT_FOUND, text=NO_SUCH_WRAPPER)
        return Answer(call=name, status=ClaimStatus.OK, value=value, code=0)

    def ask_first(self, names: tuple[str, ...], *arguments: Any) -> Answer:
        """Call the first of several wrappers that this binding and this driver have.

        Args:
            names: Wrappers in order of preference, the newest first.
            *arguments: The arguments, the same for each.

        Returns:
            The first answer that is not "no such function"; the first of those otherwise.
        """
        first: Answer | None = None
        for name in names:
            answer = self.ask(name, *arguments)
            if not answer.missing:
                return answer
            first = first or answer
        assert first is not None  # noqa: S101 - tables never hold an empty tuple
        return first

    def fill(self, function: str, structure_names: tuple[str, ...], handle: Any) -> Answer:
        """Let a by-reference function fill a structure, the newest version that is understood.

        Args:
            function: Wrapper that takes the handle and a reference to a structure.
            structure_names: Structures in order of preference, the newest first.
            handle: Device handle.

        Returns:
            An answer whose value is the filled structure.
        """
        from ctypes import byref

        answer = Answer(call=function, status=ClaimStatus.NOT_FOUND, text=NO_SUCH_WRAPPER)
        for name in structure_names:
            structure = self.structure(name)
            if structure is None:
                continue
            version = getattr(self._module, _version_constant(name), None)
            if version is not None and any(field[0] == "version" for field in structure._fields_):
                structure.version = version
            answer = self.ask(function, handle, byref(structure))
            if answer.ok:
                return Answer(call=function, status=ClaimStatus.OK, value=structure, code=0)
            # A driver that does not know this version says 25, or 2 where it checks by hand.
            if answer.code not in (VERSION_MISMATCH, INVALID_ARGUMENT):
                break
        return answer

    def raw(self, symbol: str, *arguments: Any) -> Answer:
        """Call a C symbol without a wrapper, through the binding's own look-up.

        Args:
            symbol: Name in the library.
            *arguments: ctypes arguments.
        """
        find = getattr(self._module, "_nvmlGetFunctionPointer", None) or getattr(
            getattr(self._module, "nvml", None), "_nvmlGetFunctionPointer", None
        )
        if find is None:
            return Answer(call=symbol, status=ClaimStatus.NOT_FOUND, text=NO_SUCH_WRAPPER)
        try:
            code = int(find(symbol)(*arguments))
        except self._nvml_error as error:
            return answer_of_code(symbol, int(getattr(error, "value", 999)))
        return answer_of_code(symbol, code)


def _version_constant(structure_name: str) -> str:
    """Name the binding's version constant of a structure: `c_nvmlX_v1_t` -> `nvmlX_v1`."""
    return structure_name.removeprefix("c_").removesuffix("_t")
