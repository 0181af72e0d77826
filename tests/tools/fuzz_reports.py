"""Coverage-guided fuzzing of the reading of signed reports, with atheris where it is installed.

    GPUVERIFY_FUZZ_SECONDS=600 python tests/tools/fuzz_reports.py [CORPUS_FOLDER]

Any crash, and any payload accepted that the key did not sign, ends the run with the input in a
file. Without atheris (`pip install atheris`) nothing is done, and that is said.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Fuzz for the time that the environment gives."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (pip install atheris): no coverage-guided run")
        return 0
    atheris: Any = importlib.import_module("atheris")
    sys.path.insert(0, str(HERE.parent / "signing"))
    with atheris.instrument_imports(include=["gpuverify.codec", "gpuverify.signing"]):
        import test_verify_fuzz as target
    with tempfile.TemporaryDirectory(prefix="gpuverify-fuzz-") as seeds:
        folder = sys.argv[1] if len(sys.argv) > 1 else seeds
        for number, data in enumerate(target.seeds()):
            (Path(folder) / f"seed-{number}").write_bytes(data)
        seconds = int(float(os.environ.get("GPUVERIFY_FUZZ_SECONDS", "600")))
        options = [f"-max_total_time={seconds}", "-max_len=200000", "-timeout=20", folder]
        atheris.Setup([sys.argv[0], *options], target.fuzz_one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
