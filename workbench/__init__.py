"""What demo, tests and benchmarks share; the pack itself never imports it.

Reading order: environment (one Python environment for all three), hosts (where ComfyUI is), server (a host on a base
directory of its own, driven over HTTP), tiny (a family of small models that the host's own loaders accept), inprocess
(the host's modules without a server).
"""

import os

# Threads of torch that wait would spin; on few cores, with other processes at work, that costs ten times the work.
# Read when torch is first imported, by this process and by those that it starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
