"""Reference data: what a product is known to show, and where that is known from."""

from __future__ import annotations

from gpuverify.refdb.database import Database

__all__ = ["Database"]
