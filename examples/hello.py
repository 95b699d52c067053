"""A whole GAN: G learns to draw points like those of a ring of eight Gaussians."""

import numpy as np

import npgan
from npgan import backend as xp
from npgan.layers import LeakyReLU, Linear, ReLU, he

G = npgan.Net([Linear(2, 40, he), ReLU(), Linear(40, 40, he), ReLU(), Linear(40, 2, he)], seed=0)
D = npgan.Net([Linear(2, 40, he), LeakyReLU(), Linear(40, 40, he), LeakyReLU(), Linear(40, 1, he)], seed=1)
players = npgan.Players(G, D, m=64, penalty=npgan.R1(.02))         # R1 keeps D flat on the data
sgd_d, sgd_g = npgan.Adam(D, lr=.004, b1=.5), npgan.Adam(G, lr=.002, b1=.5)

data = xp.asarray(npgan.toy.ring(sd=.05).sample(100_000))
examples = npgan.toy.endless(data, m=64, seed=0)
rng = xp.default_rng(0)
for record in npgan.train(players, examples, npgan.Normal(), sgd_d, sgd_g, rng, iterations=8001):
    if record.iteration % 250 == 0:
        i, V, D_x, D_Gz, *_ = record
        print(f"iteration {i:4}   V {V:.3f}   D(x) {D_x:.3f}   D(G(z)) {D_Gz:.3f}")

# Draw 2,000 samples as a text picture: x_1 to the right, x_2 upwards.
x = xp.asnumpy(G(np.random.default_rng(0).standard_normal((2000, 2))))
counts, *_ = np.histogram2d(-x[:, 1], x[:, 0], bins=(20, 40), range=[(-1.3, 1.3), (-1.3, 1.3)])
for row in counts:
    print("".join(" .:*#"[min(int(count), 4)] for count in row).rstrip())
