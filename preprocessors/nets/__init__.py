"""One network a file, with the state-dict keys of the files that users have. Each header names its
paper and source.
"""
