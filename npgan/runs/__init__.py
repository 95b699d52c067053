"""What surrounds a training: the loop over epochs, options, checkpoints, pictures, processes.

Nothing here computes a gradient. Nothing in npgan imports this package, except for npgan.load.
"""
