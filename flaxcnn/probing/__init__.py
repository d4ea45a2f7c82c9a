"""Probes: how well the features of a network tell the targets, without training the network.

network     a run's network, or a pretrained model's
features    the features of images, computed once and kept on disk
division    the examples of a source, and the splits or folds that they are divided into
heads       what learns of features: regressions and neighbours
measure     learns and predicts in each fold, and says what the predictions are worth
shortcuts   what the border, the files and divided groups tell
probe       all of these for a source
report      the result as a table and as files
"""
