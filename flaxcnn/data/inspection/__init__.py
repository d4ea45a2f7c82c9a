"""What a data set holds: its counts and pictures, and images that it holds more than once."""
