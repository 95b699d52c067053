"""Everything around a training: the loop over epochs, options, checkpoints, pictures, processes. Nothing here computes a gradient."""
