"""A trained model as a folder for any static web host: a page that runs it in the browser of whoever opens it.

page      the page: index.html, and what decodes an image, fits it, and makes an answer of the model's outputs
form      what the page has to know of a model: `model.json`
runtime   ONNX Runtime Web, from the npm package that the user names
folder    all of it written as one folder
"""
