"""A trained model as an ONNX graph, written from the program that JAX traces of it.

document   the file: inputs, outputs and what is said about them
traced     the way through a traced program, with what does not depend on images computed at once
int8       a file again, in whole numbers of 8 bits
folding    for it: a bias and a norm as part of their convolution
elementwise, shapes, windows, products   an operation of JAX in ONNX's
graph      nodes, initial values, and arrays that are broadcast or transposed only where it matters

A converter of others, jax2onnx 0.17, took 4 of the 10 networks that it was given with a symbolic batch (jax 0.12), and
wrote each maximum of a window as gathers. What models compute is some forty operations, and a convolution, a pool and a
product are one operation in ONNX too.
"""
