"""Where things stand in a checkout."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
EPYC, AVX2, H100 = RESULTS / "epyc-2core", RESULTS / "epyc-avx2-2core", RESULTS / "h100-16core"
