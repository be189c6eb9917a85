"""Share what demo, tests and benchmarks need; the pack itself never imports this.

Run ComfyUI: `environment` (one Python environment for all commands), `hosts` (where ComfyUI is
installed), `server` (ComfyUI on a base directory of its own, driven over HTTP), `inprocess` (its
modules without a server), `second_device` (a device that refuses what a card refuses), `workflow`
(a saved workflow as the prompt that the frontend would queue).

Stand in for what is large: `tiny_family` (a small SD1.5 whose files ComfyUI's loaders accept),
`tiny` (its models made in this process), `world` (drawn landscapes, and the form of the models that
are trained on them by `demo/world`), `tiny_bases` (a small base and net of each other
architecture), `random_weights` (networks of preprocessors with fresh weights), `stand_ins` (small
networks instead of slow ones).

Measure against others: `reference_nets` and `references` (networks of controlnet_aux, run without
its imports), `photographs` (for these comparisons), `blazepose` (an independent detector of
people), `plain_loop` (a textbook training loop).
"""

import os

# Torch's threads spin while they wait for each other. Long spinning makes small models many times
# slower where other work holds the cores; sleeping at once (OMP_WAIT_POLICY=PASSIVE) makes them two
# to three times slower on idle cores. This many turns, some tens of microseconds, suit both. Read
# when torch is first imported, in this process and in those that it starts.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
