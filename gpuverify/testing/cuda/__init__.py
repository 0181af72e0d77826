"""CUDA without a GPU: a libcuda that runs PTX on the CPU, for cards made of parameters.

What is real: the driver API's calling sequence, each instruction of the PTX, memory and its
faults. What is modelled: time. `%clock64`, `%globaltimer` and events come from the profile's
rates, exact and without noise; wall time is the CPU's own. What is absent: caches as they affect
results, ECC, power, temperature, the driver's own bugs.
"""

from gpuverify.testing.cuda.fake import FakeCuda, fake_cuda
from gpuverify.testing.cuda.presets import card, preset_names
from gpuverify.testing.cuda.profile import CardProfile, Faults, Rates
from gpuverify.testing.cuda.toolchain import NoCompilerError

__all__ = [
    "CardProfile",
    "FakeCuda",
    "Faults",
    "NoCompilerError",
    "Rates",
    "card",
    "fake_cuda",
    "preset_names",
]
