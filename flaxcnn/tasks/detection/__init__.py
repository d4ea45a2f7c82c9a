"""Object detection: boxes with classes and scores, held against true boxes as COCO does."""
