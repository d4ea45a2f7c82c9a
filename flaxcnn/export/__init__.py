"""A trained model in other formats, each run in a process of its own before it counts as written.

function    a trained model as one pure function from pixels to predictions
onnx        that function as an ONNX graph
stablehlo   that function compiled by no one yet: for CPU, CUDA and TPU, and batches of any size
verify      what a written file says of images whose outputs are known
"""
