"""Write everything that is generated and committed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

if __name__ == "__main__":
    for name in (
        "generate_refdb.py",
        "generate_rules.py",
        "make_bases.py",
        "generate_help.py",
        "generate_report_format.py",
    ):
        subprocess.run([sys.executable, str(HERE / name)], check=True)
