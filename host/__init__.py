"""Services between the pack and ComfyUI, one per module.

`folders` (names that stay inside a folder), `atomic` (files that are whole or not there),
`picture_files` (pictures of unknown origin), `memory` (what an out-of-memory error looks like),
`locks`, `weight_files` and `downloads` (files of preprocessors: read and fetched) need no ComfyUI.
`weights` and `weight_places` find those files where ComfyUI and others keep them, `runtime` holds
the loaded networks, `progress` talks to the node that runs. `control_files` loads ControlNets,
`keypoint_files` lists, reads and writes poses, `matching` compares a hint with its net. `routes`
and `answers` serve the frontend.
"""
