"""Data sets that Hugging Face's `datasets` saved with `save_to_disk`, read without it.

saved     which splits, files and features a folder declares
arrow     its files: the encoded images and the columns beside them
source    `hf:DIR`
"""
