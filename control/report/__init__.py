"""What each ControlNet of a chain did in its last run.

Reading order: journal (what is noted while sampling), model_blocks and inside (what the model shows
of its blocks), numbers (Report and NetReport, read from the journals afterwards), text (the report
as tables), plot (the same as a picture).
"""
