"""Answers for new images from a finished run, without its data.

abstaining  when not to answer
answers     answers as a table, JSON lines or CSV
digits      photographed digits prepared as MNIST's were
images      image files, found, read and decoded in batches
loading     a run's folder or a model file, as a trained model
model_file  one file with all of a trained model, which checks itself
preparing   how an image file becomes pixels, and a prediction an answer
trained     a finished run's model with all that it needs: weights, names, preparation, calibration
"""
