"""Answer instructions on the pixels of scenes: reading, tiling, segmenting, and pictures of the result. No prefect."""
