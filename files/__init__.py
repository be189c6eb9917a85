"""What a model file is, told without loading it. Standard library only: no torch, no ComfyUI.

`header` reads keys, shapes and metadata; `families` recognises the file by them (a table of rules);
`base_models` says which ControlNets a base model accepts; `conditions` says which kind of hint a
ControlNet was trained on.
"""
