"""What the nodes use of SciPy. Import this inside the function that needs it, and SciPy nowhere else.

Importing SciPy takes longer than a frame without a guide layer, so it must not happen at the top of a node's module.
And it must happen in one place: SciPy's modules import each other in circles, and where two threads enter at different
ends, each waits for the other and Python gives up with a _DeadlockError. The lock on this module lets one in at a time.

SciPy brings an OpenBLAS of its own, which asks once how many threads it may use. It gets one: on two, each of the many
small steps of a solution waits for the other thread, and the whole takes four times as long. Frames run side by side
anyway. Where a program has imported SciPy before, that program has decided.
"""

import os

_THREADS = "OPENBLAS_NUM_THREADS"
_before = os.environ.get(_THREADS)
os.environ[_THREADS] = "1"
try:
    from scipy.linalg import solveh_banded
    from scipy.sparse import csc_matrix
    from scipy.spatial import KDTree
finally:
    if _before is None:
        del os.environ[_THREADS]
    else:
        os.environ[_THREADS] = _before

__all__ = ["KDTree", "csc_matrix", "solveh_banded"]
