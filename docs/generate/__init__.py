"""Write the reference pages and the drawings of the site from the code: ``python -m docs.generate``."""
