"""Ordinary code that uses NVML."""

import pynvml


def inventory() -> list[str]:
    """Return one line a card: name, memory in GiB, serial number if it can be read."""
    pynvml.nvmlInit()
    try:
        lines = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            try:
                serial = pynvml.nvmlDeviceGetSerial(handle)
            except pynvml.NVMLError_NotSupported:
                serial = "no serial number"
            except pynvml.NVMLError as error:
                serial = f"serial number unreadable ({error.value})"
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total >> 30
            lines.append(f"{pynvml.nvmlDeviceGetName(handle)}, {memory} GiB, {serial}")
        return lines
    finally:
        pynvml.nvmlShutdown()


def needs_service(index: int) -> bool:
    """Whether a card asks for a reset or has lost a row for good."""
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    try:
        _, _, pending, failed = pynvml.nvmlDeviceGetRemappedRows(handle)
    except pynvml.NVMLError_NotSupported:
        return False
    return bool(pending or failed)
