"""Write annotated images in another format of annotations."""
