"""Everything that `make bench` measures, one after the other."""

from __future__ import annotations

import subprocess
import sys

for name in ("planning", "whole"):
    print(f"\n{name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
