"""A small world of drawn landscapes: pictures, words, maps, and the models trained on them.

`canvas` draws a picture and its maps at once, `scenery` composes landscapes, `plain_shapes` the
simple pictures of the first steps, `codec` is a cheap form of TAESD's autoencoder, `reader` reads
classes and depth from a picture, `model_files` stores the trained models small and writes them out
for ComfyUI. `python3 demo/world` trains them; demo, tests and benchmarks use them.
"""
