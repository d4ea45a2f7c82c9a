"""Pages: one HTML file each, with its style and its pictures inside, made of parts that escape what they show.

The folder `browser` has what pages share that answer for images (`flaxcnn serve`, a web folder of `flaxcnn export`):
their style, a canvas to draw on, files to choose, an answer with its bars.
"""
