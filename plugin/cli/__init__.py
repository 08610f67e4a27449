"""The `fewstroke` command: a host like the others."""

import os

# Before NumPy is imported, which reads it: what the registration solves is too small for OpenBLAS's own threads, which
# double its time, and what can be done at once is on threads of ours already.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
