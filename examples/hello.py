"""A whole GAN in twenty lines: learn to draw points from a ring of 8 Gaussians."""

import numpy as np

import npgan
from npgan.layers import LeakyReLU, Linear, ReLU, he

G = npgan.Net([Linear(2, 64, he), ReLU(), Linear(64, 64, he), ReLU(), Linear(64, 2, he)], seed=0)
D = npgan.Net([Linear(2, 64, he), LeakyReLU(), Linear(64, 64, he), LeakyReLU(), Linear(64, 1, he)], seed=1)
players = npgan.Players(G, D, m=128, penalty=npgan.R1(.1))
sgd_d, sgd_g = npgan.Adam(D, lr=.002, b1=.5), npgan.Adam(G, lr=.001, b1=.5)

rng, xp = npgan.backend.default_rng(0), npgan.backend
data = xp.asarray(npgan.toy.ring(sd=.05).sample(100_000, seed=0))
examples = npgan.toy.endless(data, 128, seed=0)

for record in npgan.train(players, examples, npgan.Normal(), sgd_d, sgd_g, rng, iterations=5001):
    if record.iteration % 250 == 0:
        i, V, D_x, D_Gz, *_ = record
        print(f"iteration {i:5}   V {V:7.3f}   D(x) {D_x:.3f}   D(G(z)) {D_Gz:.3f}")

x = xp.asnumpy(G(np.random.default_rng(0).standard_normal((2000, 2))))
counts, _, _ = np.histogram2d(-x[:, 1], x[:, 0], bins=(20, 40), range=[(-1.3, 1.3)] * 2)
print("\n".join("".join(" .:*#"[min(int(c), 4)] for c in row) for row in counts))
