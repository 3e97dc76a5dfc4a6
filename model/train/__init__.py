"""Training: losses, simulated scenes, real crops with weak labels, and the loop that uses them."""
