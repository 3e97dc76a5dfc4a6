"""Files of the user's own as a source: registered folders, read from disk by the source's name."""
