"""Algorithm 1 of Goodfellow et al. 2014: minibatch SGD training of generative adversarial nets.

Read `train` beside the paper. For each player one function computes a gradient, and one method,
`ascend` or `descend` (optim.py), applies it. To see any quantity, print it between the two. The
objective V is in objectives.py; the networks and their tapes are in net.py.
Study page: docs/study/algorithm-1.html
"""

from typing import Any, NamedTuple

from npgan import backend as xp
from npgan.objectives import GAN
from npgan.optim import steps


class Players:
    """G and D, with the buffers of their passes over one minibatch of m examples.

    tape_g      G's tape, m rows
    tape_d      D's tape, 2 m / pack rows: real examples above, generated examples below
    tape_real   the upper half of tape_d
    tape_fake   the lower half of tape_d, the only part of it that G's step uses
    z           the noise samples, (m, length of z)
    x           D's input in tape_real, as m examples
    Gz, dGz     D's input in tape_fake, as m examples; the gradient of G's loss there

    pack: D sees that many examples side by side in one row, so it can see if they are alike
    (PacGAN; Lin, Khetan, Fanti, Oh 2018). With a penalty P (penalty.py), D ascends V - P.
    Raises ValueError if the networks do not fit: D must take G's output and end in one logit,
    both must have the same dtype, and m must be a positive multiple of pack.
    """

    def __init__(self, G, D, m, objective=GAN, generator_loss="non-saturating", pack=1, penalty=None):
        first, *rest = G.shapes[-1]
        if D.shapes[0] != (pack * first, *rest) or D.shapes[-1] != (1,):
            raise ValueError(
                f"D must take {(pack * first, *rest)}, since G ends in {G.shapes[-1]} and pack = {pack}, "
                f"and end in one logit (1,): it takes {D.shapes[0]} and ends in {D.shapes[-1]}")
        if G.dtype != D.dtype:
            raise ValueError(f"G is {G.dtype} and D is {D.dtype}: make both of one dtype")
        if m < 1 or m % pack:
            raise ValueError(f"m = {m}: a minibatch needs m >= 1, a multiple of pack = {pack}")
        self.G, self.D, self.m = G, D, m
        self.objective, self.generator_loss, self.penalty = objective, generator_loss, penalty
        rows = m // pack
        self.tape_g, self.tape_d = G.tape(m), D.tape(2 * rows)
        self.tape_real, self.tape_fake = self.tape_d[:rows], self.tape_d[rows:]
        self.z = xp.empty_like(self.tape_g.x[0])
        self.x = self.tape_real.x[0].reshape(m, first, *rest)
        self.Gz = self.tape_fake.x[0].reshape(m, first, *rest)
        self.dGz = self.tape_fake.dx[0].reshape(m, first, *rest)
        # G's output buffer is D's input buffer, and D's input gradient is G's output gradient.
        self.tape_g.x[-1], self.tape_g.dx[-1] = self.Gz, self.dGz
        if penalty:
            penalty.prepare(D, rows)

    def draw_masks_d(self, rng):
        """Draw the dropout masks and the Noise of D's step, and the points of the penalty."""
        self.G.draw(self.tape_g, rng)
        self.D.draw(self.tape_d, rng)
        if self.penalty:
            self.penalty.draw(rng)

    def draw_masks_g(self, rng):
        """Draw the dropout masks and the Noise of G's step."""
        self.G.draw(self.tape_g, rng)
        self.D.draw(self.tape_fake, rng)


class Record(NamedTuple):
    """Statistics of one iteration: scalars. On a GPU they are 0-d arrays; reading one waits."""

    iteration: int
    V: Any                  # V(D, G) on D's last minibatch, before D's update
    D_x: Any                # mean D(x)
    D_Gz: Any               # mean D(G(z))
    norm_d: Any             # |grad_theta_d V|; with a penalty |grad_theta_d (V - P)|
    norm_g: Any             # |grad_theta_g of the mean of J|


def discriminator_gradient(players, x, z):
    """D.grad = grad_theta_d V,    V = 1/m sum_i [ log D(x_i) + log(1 - D(G(z_i))) ]

    In general V = 1/m sum_i [ T(a(x_i)) - F(a(G(z_i))) ], with D's logit a (objectives.py).
    With a penalty P, D.grad is the gradient of V - P. With packs, i counts the packs.
    x: (m, ...)   z: (m, length of z)   Returns V, mean D(x), mean D(G(z)).
    """
    G, D, objective = players.G, players.D, players.objective
    copy_minibatch("z", z, players.tape_g.x[0])
    copy_minibatch("x", x, players.x)
    G.forward(players.tape_g)
    D.forward(players.tape_d)

    a_x, a_Gz = players.tape_real.x[-1], players.tape_fake.x[-1]          # the logits
    rows = len(a_x)
    players.tape_real.dx[-1][...] = objective.dT(a_x) / rows              # dV/da at x
    players.tape_fake.dx[-1][...] = -objective.dF(a_Gz) / rows            # dV/da at G(z)
    D.backward(players.tape_d, inputs=False)                              # D.grad = grad_theta_d V
    if players.penalty:
        players.penalty(players.tape_real, players.tape_fake)             # D.grad -= grad_theta_d P
    V = (objective.T(a_x).sum() - objective.F(a_Gz).sum()) / rows
    return V, objective.prob(a_x).sum() / rows, objective.prob(a_Gz).sum() / rows


def generator_gradient(players, z):
    """G.grad = grad_theta_g 1/m sum_i J(a(G(z_i)))          z: (m, length of z)

    In equation 1, J is log(1 - D(G(z_i))) (minimax) or -log D(G(z_i)) (non-saturating, the
    default loss). In general J is -F(a) or -T(a).
    """
    copy_minibatch("z", z, players.tape_g.x[0])
    players.G.forward(players.tape_g)
    players.D.forward(players.tape_fake)
    generator_backward(players)


def generator_backward(players):
    """The chain rule of generator_gradient, from D's logits at G(z) back to theta_g."""
    a_Gz = players.tape_fake.x[-1]
    players.tape_fake.dx[-1][...] = players.objective.dJ(a_Gz, players.generator_loss) / len(a_Gz)
    players.D.backward(players.tape_fake, parameters=False)               # dJ/dG(z)
    players.G.backward(players.tape_g, inputs=False)                      # G.grad


def train(players, examples, prior, sgd_d, sgd_g, rng, iterations, k=1, *,
          discriminator_gradient=discriminator_gradient, generator_gradient=generator_gradient):
    """Algorithm 1. Yields a Record after each iteration.

    examples: an iterator of minibatches x, (m, ...)
    prior: the noise prior (priors.py); Algorithm 1 calls it p_g(z), equation 1 calls it p_z(z)
    sgd_d, sgd_g: the optimizers of D and G (optim.py)     rng: from backend.default_rng
    k: D's steps in each iteration; a number, or a function of the iteration (optim.WarmUp)
    cuda.py replaces the two gradient functions by recorded ones.
    """
    for i in range(iterations):                                     # for number of training iterations do
        for _ in range(steps(k, i)):                                #   for k steps do
            z = sample_noise(players, prior, rng)                   #     sample minibatch of m noise samples
            x = sample_examples(examples, i)                        #     sample minibatch of m examples
            players.draw_masks_d(rng)                               #     (dropout)
            V, D_x, D_Gz = discriminator_gradient(players, x, z)    #     compute grad_theta_d V
            sgd_d.ascend()                                          #     update D by ascending it
                                                                    #   end for
        z = sample_noise(players, prior, rng)                       #   sample minibatch of m noise samples
        players.draw_masks_g(rng)                                   #   (dropout)
        generator_gradient(players, z)                              #   compute grad_theta_g of G's loss
        sgd_g.descend()                                             #   update G by descending it
        yield Record(i, V, D_x, D_Gz, norm(players.D.grad), norm(players.G.grad))
                                                                    # end for


def train_simultaneous(players, examples, prior, sgd_d, sgd_g, rng, iterations, k=1, *,
                       discriminator_gradient=discriminator_gradient, generator_backward=generator_backward):
    """The update of the authors' code: both gradients at once, from one minibatch.

    Arguments as in `train`. Raises ValueError unless k = 1: D makes no step without G.
    """
    if k != 1:
        raise ValueError(f"k = {k}: the simultaneous update has k = 1; take Algorithm 1 for other k")
    for i in range(iterations):
        z = sample_noise(players, prior, rng)
        x = sample_examples(examples, i)
        players.draw_masks_d(rng)
        V, D_x, D_Gz = discriminator_gradient(players, x, z)
        generator_backward(players)             # from the forward pass that D's gradient made
        sgd_d.ascend()
        sgd_g.descend()
        yield Record(i, V, D_x, D_Gz, norm(players.D.grad), norm(players.G.grad))


def sample_noise(players, prior, rng):
    """Fill players.z with m samples of the noise prior, and return it."""
    prior(rng, players.z)
    return players.z


def sample_examples(examples, iteration):
    """The next minibatch of an iterator. Raises ValueError if there is none."""
    try:
        return next(examples)
    except StopIteration:
        raise ValueError(f"the examples ended at iteration {iteration}: give an endless iterator") from None


def copy_minibatch(name, a, buffer):
    """buffer <- a. Raises ValueError if the shapes differ, where NumPy might broadcast."""
    if xp.shape(a) != buffer.shape:
        raise ValueError(f"{name} has shape {xp.shape(a)}, but the players were made for {buffer.shape}")
    buffer[...] = a


def norm(g):
    """|g|"""
    return xp.sqrt(xp.vdot(g, g))
