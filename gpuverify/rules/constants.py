"""Members of the model's enums under plain names, for what the rules look up on every card.

Until Python 3.12 a member that is looked up on its class costs ten times as much as a plain name,
and the rules look up some hundred a card.
"""

from __future__ import annotations

from gpuverify.model.claims import ClaimStatus, Source

FROM_NVML = Source.NVML
FROM_NVIDIA_SMI = Source.NVIDIA_SMI
FROM_PROCFS = Source.PROCFS
FROM_PCI_CONFIG = Source.PCI_CONFIG
FROM_HOST = Source.HOST
FROM_CUDA = Source.CUDA
FROM_MEASURED = Source.MEASURED
FROM_DEVICE_CERTIFICATE = Source.DEVICE_CERTIFICATE

DEVICE_LOST = ClaimStatus.DEVICE_LOST
FAILED = ClaimStatus.FAILED
NOT_ASKED = ClaimStatus.NOT_ASKED
NOT_FOUND = ClaimStatus.NOT_FOUND
NOT_SUPPORTED = ClaimStatus.NOT_SUPPORTED
SENTINEL = ClaimStatus.SENTINEL
TIMED_OUT = ClaimStatus.TIMED_OUT
