"""What the nodes use of SciPy. Import this inside the function that needs it, and SciPy nowhere else.

Importing SciPy takes longer than a frame without a guide layer, so it must not happen at the top of a node's module.
And it must happen in one place: SciPy's modules import each other in circles, and where two threads enter at different
ends, each waits for the other and Python gives up with a _DeadlockError. The lock on this module lets one in at a time.
"""

from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

__all__ = ["KDTree", "csc_matrix", "splu"]
