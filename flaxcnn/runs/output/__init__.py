"""The output of a run: console, TensorBoard, pictures, profile and crash folder."""
