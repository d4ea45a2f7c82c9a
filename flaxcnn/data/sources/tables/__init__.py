"""Tables with a row for each image file: CSV, JSON lines and Parquet.

reading    the columns of a file that are asked for, as text
columns    columns to learn: classes, numbers or labels
source     `csv:FILE`, `parquet:FILE` and `jsonl:FILE`
"""
