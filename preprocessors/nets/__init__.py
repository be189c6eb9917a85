"""The networks, one a file, each with the state-dict keys of the files that users have."""
