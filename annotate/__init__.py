"""Annotate a data set: `python3 annotate IN OUT --method canny`, without ComfyUI.

A job (`job`) has methods of the catalogue, an input (`intake`) and a form of output
(`shard_forms`). The input is planned in shards, each a function of its own pictures alone. `worker`
makes one shard, and whoever runs workers (`crew`: this process or several; `ray_crew`: a cluster)
makes those that are not there yet. A shard is written under a temporary name and renamed, and
`manifest` refuses to mix jobs in one folder: whatever dies, the same command makes what is missing.
"""
