"""What demo, tests and benchmarks share; the pack itself never imports it.

Reading order: environment (one Python environment for all three), hosts (where ComfyUI is), server (a host on a base
directory of its own, driven over HTTP), tiny (a family of small models that the host's own loaders accept), inprocess
(the host's modules without a server).
"""

import os

# Torch's threads spin while they wait for each other. On a machine whose cores are busy elsewhere that makes small
# models ten times slower; asleep they cost nothing measurable on an idle one. Read when torch is first imported, in
# this process and in those that it starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
