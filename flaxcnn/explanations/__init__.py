"""What an answer rests on: heat maps over images, by three methods, of any number that a task answers with.

divided                a model divided at an endpoint: what comes after it as a function of it
explaining             the maps of images by a chosen method; the front of this package
gradcam                Grad-CAM
integrated_gradients   integrated gradients, with steps added until they are complete
occlusion              what the number loses where a part is covered
folder                 a picture and a line of JSON for each image, written into a new folder
options                the method and its options, checked
overlay                a map over its image, as pixels
picture                an image beside its map, as a PNG file
programs               the compiled functions: numbers, activations, values and gradients
resizing               maps of an endpoint brought to the image's size
words                  what is said of an explanation, as JSON and in pictures
"""
