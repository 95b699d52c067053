"""A whole GAN: G learns to draw points like those of a ring of eight Gaussians."""

import numpy as np

import npgan
from npgan import backend as xp
from npgan.layers import LeakyReLU, Linear, ReLU, he

G = npgan.Net([Linear(2, 64, he), ReLU(), Linear(64, 64, he), ReLU(), Linear(64, 2, he)], seed=0)
D = npgan.Net([Linear(2, 64, he), LeakyReLU(), Linear(64, 64, he), LeakyReLU(), Linear(64, 1, he)], seed=1)
players = npgan.Players(G, D, m=128, penalty=npgan.R1(.02))
sgd_d = npgan.Adam(D, lr=.002, b1=.5)
sgd_g = npgan.Adam(G, lr=.001, b1=.5)

data = xp.asarray(npgan.toy.ring(sd=.05).sample(100_000))
examples = npgan.toy.endless(data, m=128, seed=0)
rng = xp.default_rng(0)
for record in npgan.train(players, examples, npgan.Normal(), sgd_d, sgd_g, rng, iterations=5001):
    if record.iteration % 250 == 0:
        print("iteration {:4}   V {:.3f}   D(x) {:.3f}   D(G(z)) {:.3f}".format(*record[:4]))

x = xp.asnumpy(G(np.random.default_rng(0).standard_normal((2000, 2))))        # the samples as a text picture
counts, *_ = np.histogram2d(-x[:, 1], x[:, 0], bins=(20, 40), range=[(-1.3, 1.3), (-1.3, 1.3)])
for row in counts:
    print("".join(" .:*#"[min(int(count), 4)] for count in row).rstrip())
