"""Algorithm 1 of Goodfellow et al. 2014: minibatch SGD training of generative adversarial nets.

Read `train` beside the paper. Two functions compute a gradient, and two calls, `ascend` and
`descend` (optim.py), apply one. Whatever you want to see, print it between them. The objective V
is in objectives.py; the networks and their tapes are in net.py.
"""

from typing import Any, NamedTuple

from npgan import backend as xp
from npgan.objectives import GAN
from npgan.optim import steps


class Players:
    """G and D, with the buffers of their passes over one minibatch of m examples.

    tape_g      G's tape, m rows
    tape_d      D's tape, 2m rows: real examples above, generated examples below
    tape_real   the upper half of tape_d
    tape_fake   the lower half of tape_d; all that G's step needs
    z           the noise samples, (m, n)
    x, Gz, dGz  views of tape_d, (m, ...): real examples, G(z), the gradient of G's loss there

    pack: D judges so many examples side by side, as one row, and sees whether they are alike
    (PacGAN; Lin, Khetan, Fanti, Oh 2018). With a penalty P (penalty.py), D ascends V - P.
    Raises ValueError if the networks do not fit: D must take G's output and end in one logit, both
    must have the same dtype, and m must be a positive multiple of pack.
    """

    def __init__(self, G, D, m, objective=GAN, generator_loss="non-saturating", pack=1, penalty=None):
        n, *rest = G.shapes[-1]
        if D.shapes[0] != (pack * n, *rest) or D.shapes[-1] != (1,):
            raise ValueError(
                f"D must take {(pack * n, *rest)}, since G ends in {G.shapes[-1]} and pack = {pack}, "
                f"and end in one logit (1,): it takes {D.shapes[0]} and ends in {D.shapes[-1]}")
        if G.dtype != D.dtype:
            raise ValueError(f"G is {G.dtype} and D is {D.dtype}: make both of one dtype")
        if m < 1 or m % pack:
            raise ValueError(f"m = {m}: a minibatch has 1 example or more, in whole packs of {pack}")
        self.G, self.D, self.m = G, D, m
        self.objective, self.generator_loss, self.penalty = objective, generator_loss, penalty
        rows = m // pack
        self.tape_g, self.tape_d = G.tape(m), D.tape(2 * rows)
        self.tape_real, self.tape_fake = self.tape_d[:rows], self.tape_d[rows:]
        self.z = xp.empty_like(self.tape_g.x[0])
        self.x, self.Gz, self.dGz = (a.reshape(m, n, *rest) for a in (
            self.tape_real.x[0], self.tape_fake.x[0], self.tape_fake.dx[0]))
        self.tape_g.x[-1], self.tape_g.dx[-1] = self.Gz, self.dGz
        if penalty:
            penalty.prepare(D, rows)

    def draw_masks_d(self, rng):
        """Draw what else is random in D's step: dropout masks, noise layers, the penalty's
        points.
        """
        self.G.draw(self.tape_g, rng)
        self.D.draw(self.tape_d, rng)
        if self.penalty:
            self.penalty.draw(rng)

    def draw_masks_g(self, rng):
        """Draw what else is random in G's step: dropout masks and noise."""
        self.G.draw(self.tape_g, rng)
        self.D.draw(self.tape_fake, rng)


class Record(NamedTuple):
    """The statistics of one iteration: 0-d arrays on the device, until somebody reads them."""

    iteration: int
    V: Any                  # V(D, G) on D's last minibatch, before D's update
    D_x: Any                # mean D(x)
    D_Gz: Any               # mean D(G(z))
    norm_d: Any             # |grad_theta_d V|, or of V - P with a penalty
    norm_g: Any             # |grad_theta_g J|


def discriminator_gradient(players, x, z):
    """D.grad = grad_theta_d V,    V = 1/m sum_i [ T(a(x_i)) - F(a(G(z_i))) ]

    In equation 1 the bracket is log D(x_i) + log(1 - D(G(z_i))).   x: (m, ...)   z: (m, n)
    Returns V, mean D(x), mean D(G(z)). With a penalty P, D.grad is the gradient of V - P.
    """
    G, D, objective = players.G, players.D, players.objective
    put("z", z, players.tape_g.x[0])
    put("x", x, players.x)
    G.forward(players.tape_g)
    D.forward(players.tape_d)

    a_x, a_Gz = players.tape_real.x[-1], players.tape_fake.x[-1]          # the logits
    m = len(a_x)
    players.tape_real.dx[-1][...] = objective.dT(a_x) / m
    players.tape_fake.dx[-1][...] = -objective.dF(a_Gz) / m
    D.backward(players.tape_d, inputs=False)
    if players.penalty:
        players.penalty(players.tape_real, players.tape_fake)
    V = (objective.T(a_x).sum() - objective.F(a_Gz).sum()) / m
    return V, objective.prob(a_x).sum() / m, objective.prob(a_Gz).sum() / m


def generator_gradient(players, z):
    """G.grad = grad_theta_g 1/m sum_i J(a(G(z_i)))          z: (m, n)

    J = -log D(G(z_i)) (non-saturating) or log(1 - D(G(z_i))) (minimax, equation 1).
    """
    put("z", z, players.tape_g.x[0])
    players.G.forward(players.tape_g)
    players.D.forward(players.tape_fake)
    generator_backward(players)


def generator_backward(players):
    """The chain rule of generator_gradient, from the logits of G(z) back to theta_g."""
    a_Gz = players.tape_fake.x[-1]
    players.tape_fake.dx[-1][...] = players.objective.dJ(a_Gz, players.generator_loss) / len(a_Gz)
    players.D.backward(players.tape_fake, parameters=False)
    players.G.backward(players.tape_g, inputs=False)


def train(players, examples, prior, sgd_d, sgd_g, rng, iterations, k=1, *,
          discriminator_gradient=discriminator_gradient, generator_gradient=generator_gradient):
    """Algorithm 1. Yields a Record after each iteration.

    examples: an iterator of minibatches x, (m, ...)     prior: p_g(z) of the paper (priors.py)
    k: D's steps in each iteration; a number, or a function of the iteration (optim.WarmUp)
    The last two arguments can replace the gradient functions, as cuda.py does.
    """
    for i in range(iterations):                                     # for number of training iterations do
        for _ in range(steps(k, i)):                                #   for k steps do
            z = sample_noise(players, prior, rng)                   #     sample minibatch of m noise samples
            x = sample_examples(examples, i)                        #     sample minibatch of m examples
            players.draw_masks_d(rng)                               #     (dropout)
            V, D_x, D_Gz = discriminator_gradient(players, x, z)
            sgd_d.ascend()                                          #     update D by ascending its gradient
                                                                    #   end for
        z = sample_noise(players, prior, rng)                       #   sample minibatch of m noise samples
        players.draw_masks_g(rng)                                   #   (dropout)
        generator_gradient(players, z)
        sgd_g.descend()                                             #   update G by descending its gradient
        yield Record(i, V, D_x, D_Gz, norm(players.D.grad), norm(players.G.grad))
                                                                    # end for


def train_simultaneous(players, examples, prior, sgd_d, sgd_g, rng, iterations, k=1, *,
                       discriminator_gradient=discriminator_gradient, generator_backward=generator_backward):
    """The authors' published update: both gradients from one minibatch, at the old parameters.

    Arguments as in `train`. Raises ValueError unless k = 1, because D never steps alone.
    """
    if k != 1:
        raise ValueError(f"k = {k}: the simultaneous update has k = 1; take Algorithm 1 for other k")
    for i in range(iterations):
        z = sample_noise(players, prior, rng)
        x = sample_examples(examples, i)
        players.draw_masks_d(rng)
        V, D_x, D_Gz = discriminator_gradient(players, x, z)
        generator_backward(players)
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


def put(name, a, buffer):
    """Copy a minibatch into its buffer. Raises ValueError where NumPy would broadcast."""
    if xp.shape(a) != buffer.shape:
        raise ValueError(f"{name} has shape {xp.shape(a)}, but the players were made for {buffer.shape}")
    buffer[...] = a


def norm(g):
    """|g|"""
    return xp.sqrt(xp.vdot(g, g))
