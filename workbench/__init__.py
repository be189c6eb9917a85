"""What demo, tests and benchmarks share; the pack itself never imports it.

Reading order: environment (one Python environment for all three), hosts (where ComfyUI is), server (a host on a base
directory of its own, driven over HTTP), tiny (a family of small models that the host's own loaders accept), inprocess
(the host's modules without a server).
"""
