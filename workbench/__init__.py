"""What demo, tests and benchmarks share; the pack itself never imports it.

Reading order: environment (one Python environment for all three), hosts (where ComfyUI is), server
(a host on a base directory of its own, driven over HTTP), tiny (a family of small models that the
host's own loaders accept), inprocess (the host's modules without a server).
"""

import os

# Torch's threads spin while they wait for each other. Long spinning makes small models many times
# slower where other work holds the cores; sleeping at once (OMP_WAIT_POLICY=PASSIVE) makes them two
# to three times slower where none does. This many turns, some tens of microseconds, do well in
# both. Read when torch is first imported, in this process and in those that it starts.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
