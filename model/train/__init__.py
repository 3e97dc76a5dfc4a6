"""Training: losses, made scenes, real crops with weak labels, and the loop that uses them."""
