"""`python -m gpuverify`."""

from __future__ import annotations

import sys

from gpuverify.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
