"""Networks, one a file, with the state-dict keys of the files that their authors published."""
