"""SegEarth-R2: language-guided segmentation of remote-sensing imagery. Tensors in, tensors out."""
