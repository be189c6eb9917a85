"""A ControlNet made from a base model, trained and saved: zero convolutions, data, the loop, the
plot.

`nets` makes nets, `forward` runs net and base for the loss, `objective` says what is learned,
`dataset` reads pictures, `cache` encodes them once, `loop` trains, `files` writes so that nothing
is lost, `report` draws. `nets`, `forward`, `cache` and `validation` meet the host; the others are
torch, numpy and Pillow.
"""
