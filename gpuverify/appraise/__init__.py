"""Appraisal: rules under a policy, and what follows from their findings. Pure; reads no machine."""

from gpuverify.appraise.engine import appraise

__all__ = ["appraise"]
