"""SAM 3: concepts in words or by example, with weights that the user brings."""
