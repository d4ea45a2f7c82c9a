"""Programs of other Pythons are not imported here: those have PyTorch or Keras."""

collect_ignore_glob = ["*_reference.py"]
