"""What a run says and draws: console, TensorBoard, pictures, a trace, and what is kept of a crash."""
