"""A trained model as a service: HTTP in, the answers of `flaxcnn predict` out. Needs the extra `serve`.

answers    answers and errors as JSON
app        the routes, and what every request passes
batching   images that wait for the model, computed together
gate       what a request must be before its body is read, and how much of it is
images     the images of a request, taken apart and decoded
keys       the API key
looking    what a person sees of one image: the answer, each layer, what the answer rests on
metrics    counts and times, as Prometheus reads them
model      a trained model, its programs compiled and compared
page       the page for people: index.html, page.js; what other pages share with it is in flaxcnn.pages
page_files the same, as the service answers with it
server     the socket, connections, signals
settings   the options
"""
