from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import numba.core.caching as caching

def refused(self):
    raise OSError("read-only")

caching._CacheLocator.ensure_cache_path = refused
from registry.compiled import compiled

@compiled
def doubled(x: float) -> float:
    return 2 * x

print(doubled(21.0))
"""


def test_kernels_compile_where_no_cache_can_be_written():
    """As in a read-only image whose user has no home: numba finds no folder for its cache."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.stdout == "42.0\n", done.stderr
