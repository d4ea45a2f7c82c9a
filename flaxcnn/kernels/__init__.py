"""Operations that layers are made of, each with a native implementation for CPUs and one in XLA for everything else."""
