"""What surrounds a training: the loop over epochs, options, checkpoints, pictures, processes.

Nothing here computes a gradient. The modules of npgan do not import this package. Only
npgan/__init__.py does, for npgan.load.
"""
