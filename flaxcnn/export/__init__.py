"""A trained model in other formats, each run in a process of its own before it counts as written.

function    a trained model as one pure function from pixels to predictions
onnx        that function as an ONNX graph
stablehlo   that function compiled by no one yet: for CPU, CUDA and TPU, and batches of any size
int8        that graph in whole numbers of 8 bits, by the run's images
compared    what two files of one model are worth, on the run's images
web         a folder for any static web host, with a page that runs the graph in the browser
verify      what a written file says of images whose outputs are known
"""
