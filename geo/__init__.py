"""Geometry, pixels and tracking: values in, values out. I/O only in ``sources``."""

import warnings

# GDAL works on copies in memory that have no place on the ground, which is no fault of a file. rasterio silences this
# itself around each call, but in one list of filters for the whole process: while other threads do so, too, it is
# printed now and then. A filter that is there from the start is in every list that a thread may restore. It goes by
# the message, so that what reads no raster need not import rasterio.
warnings.filterwarnings("ignore", "Dataset has no geotransform", UserWarning)
