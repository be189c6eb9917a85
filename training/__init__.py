"""Make a ControlNet from a base model, train it and save it.

`bases` says what a base must be, `nets` makes nets from it, `forward` runs net and base for the
loss, `objective` defines the loss, `dataset` and `pictures` read the data, `cache` encodes it once,
`loop` trains, `validation` samples a picture, `history` plots, `resume` and `checkpoint_files` keep
the state of a training on the disk, `screen` shows it, `session` joins these for the node, and
`export` saves a net. `nets`, `forward`, `validation`, `screen`, `session` import ComfyUI; `loop`,
`resume` and `export` reach it through them; the others are torch, numpy and Pillow alone.
"""
