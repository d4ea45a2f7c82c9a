"""The programs that are timed: each does a job by one library, and imports nothing of the others.

A program runs in a process of its own, with a Python of its own where it needs one, and answers the harness through
`benchmarks.worker`. All draw the weights of the paper's network the same way, and train on the same images in batches
of the same size. Single convolutions and networks are called by `jax_layers` and `torch_layers`.
"""
