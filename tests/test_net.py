"""Net: what a call allocates, and the table that print(net) shows."""

import numpy as np

from npgan import backend as xp
from npgan.conv import Reshape
from npgan.layers import Linear, Maxout
from npgan.net import Net


def test_calling_a_network_makes_no_buffers_for_gradients(device):
    net = Net([Linear(3, 4), Maxout(2), Linear(2, 1)])
    x = xp.asarray(np.ones((5, 3), "float32"))
    device.reset()
    net(x)
    assert device.counts["allocations"] == 4, "the input and the output of each layer"


def test_repr_is_a_table_with_aligned_columns():
    net = Net([Linear(100, 1200), Maxout(3), Reshape((4, 10, 10))])
    assert repr(net).splitlines() == [
        "layer                             output  parameters",
        "    0  Linear(100, 1200)            1200     121,200",
        "    1  Maxout(3)                     400",
        "    2  Reshape((4, 10, 10))  4 x 10 x 10",
        "                                             121,200"]
