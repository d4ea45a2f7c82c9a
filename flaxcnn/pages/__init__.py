"""Pages: one HTML file each, with its style and its pictures inside, made of parts that escape what they show."""
