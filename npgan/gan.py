"""Algorithm 1 of Goodfellow et al. 2014: minibatch stochastic gradient training of generative adversarial nets."""

from typing import Any, NamedTuple

from npgan import backend as xp
from npgan.cuda import recorded
from npgan.objectives import GAN
from npgan.optim import steps


class Players:
    """G and D, and the buffers of their passes over one minibatch of m examples, made once.

    `g` is G's tape. `d` is D's, of 2m rows: the real examples above, the generated ones below, so that D's step is one pass.
    `fake` is its lower half: the examples that G's step needs. `x`, `Gz` and `dGz` are D's inputs and their gradient, an example a row;
    the last two are the end of G's tape, too: G writes where D reads. `graphs` has what is recorded on a GPU (cuda.py), or is None.
    With `pack` > 1 a row of D's is that many examples side by side: D judges samples together, and sees where they are all alike
    (Lin, Khetan, Fanti, Oh 2018). With a `penalty` P (penalty.py) D ascends V - P. ValueError where G's output is not D's input,
    or D's not one logit, or their dtypes are two, or m not a number of packs.
    """

    def __init__(self, G, D, m, objective=GAN, generator_loss="non-saturating", pack=1, penalty=None):
        n, *rest = G.shapes[-1]
        if D.shapes[0] != (pack * n, *rest) or D.shapes[-1] != (1,):
            raise ValueError(f"D must take {(pack * n, *rest)}, since G ends in {G.shapes[-1]} and pack = {pack}, and end in one logit "
                             f"(1,): it takes {D.shapes[0]} and ends in {D.shapes[-1]}")
        if G.dtype != D.dtype:
            raise ValueError(f"G is {G.dtype} and D {D.dtype}: one writes where the other reads, so make both of one dtype")
        if m % pack:
            raise ValueError(f"m = {m} examples do not make packs of {pack}")
        self.G, self.D, self.m, self.objective, self.generator_loss = G, D, m, objective, generator_loss
        self.g, self.d = G.tape(m), D.tape(2 * m // pack)
        self.real, self.fake = self.d[:m // pack], self.d[m // pack:]
        self.z = self.g.x[0]
        self.x, self.Gz, self.dGz = (rows.reshape(m, n, *rest) for rows in (self.real.x[0], self.fake.x[0], self.fake.dx[0]))
        self.g.x[-1], self.g.dx[-1] = self.Gz, self.dGz
        self.penalty, self.graphs = penalty, {} if xp.graphs() else None
        if penalty:
            penalty.prepare(D, m // pack)


class Record(NamedTuple):
    """One iteration. The statistics are 0-d arrays on the device until somebody reads them."""

    iteration: int
    V: Any                  # V(D, G) on D's minibatch, before its update
    D_x: Any                # mean D(x)
    D_Gz: Any               # mean D(G(z))
    norm_d: Any             # |grad_theta_d V|; of V - P where there is a penalty
    norm_g: Any             # |grad_theta_g J|


@recorded
def discriminator_gradient(p, x, z):
    """D.grad = grad_theta_d V,  V = 1/m sum_i [ T(a(x_i)) - F(a(G(z_i))) ]   (equation 1: log D(x_i) + log(1 - D(G(z_i))))

    x (m, ...) and z (m, n). Returns V, mean D(x), mean D(G(z)). A penalty P makes D.grad the gradient of V - P; what is returned stays V.
    """
    p.z[...], p.x[...] = z, x
    p.G.forward(p.g)
    p.D.forward(p.d)

    o, a_x, a_Gz = p.objective, p.real.x[-1], p.fake.x[-1]
    m = len(a_x)
    p.real.dx[-1][...] = o.dT(a_x) / m
    p.fake.dx[-1][...] = -o.dF(a_Gz) / m
    p.D.backward(p.d, inputs=False)
    if p.penalty:
        p.penalty(p.real, p.fake)
    return (o.T(a_x).sum() - o.F(a_Gz).sum()) / m, o.D(a_x).sum() / m, o.D(a_Gz).sum() / m


@recorded
def generator_gradient(p, z):
    """G.grad = grad_theta_g 1/m sum_i J(a(G(z_i))),  J = log(1 - D(G(z_i))) (minimax) or -log D(G(z_i)) (non-saturating);  z (m, n)"""
    p.z[...] = z
    p.G.forward(p.g)
    p.D.forward(p.fake)
    generator_backward(p)


@recorded
def generator_backward(p):
    """The chain rule of generator_gradient, from D's output on the generated examples back to G's parameters."""
    a_Gz = p.fake.x[-1]
    p.fake.dx[-1][...] = p.objective.dJ(a_Gz, p.generator_loss) / len(a_Gz)
    p.D.backward(p.fake, parameters=False)
    p.G.backward(p.g, inputs=False)


def sample(p, prior, rng, t):
    """Everything random in a pass: the noise samples, the dropout masks of D's tape t, and in D's own step the penalty's points."""
    prior(rng, p.z)
    p.D.draw(t, rng)
    if p.penalty and t is p.d:
        p.penalty.draw(rng)


def train(p, examples, prior, sgd_d, sgd_g, rng, iterations, k=1):
    """Algorithm 1. `examples` is an iterator of minibatches x (m, ...); yields a Record after each iteration.

    k is a number, or a schedule: a function of the iteration i, from 0 on in each call, such as optim.WarmUp. ValueError where it is < 1.
    """
    for i in range(iterations):                                     # for number of training iterations do
        for _ in range(steps(k, i)):                                #   for k steps do
            sample(p, prior, rng, p.d)                              #     sample minibatch of m noise samples z from p_g(z)
            x = next(examples)                                      #     sample minibatch of m examples x from p_data(x)
            V, D_x, D_Gz = discriminator_gradient(p, x, p.z)
            sgd_d.ascend()                                          #     update D by ascending its stochastic gradient
                                                                    #   end for
        sample(p, prior, rng, p.fake)                               #   sample minibatch of m noise samples z from p_g(z)
        generator_gradient(p, p.z)
        sgd_g.descend()                                             #   update G by descending its stochastic gradient
        yield Record(i, V, D_x, D_Gz, norm(p.D.grad), norm(p.G.grad))
                                                                    # end for


def train_simultaneous(p, examples, prior, sgd_d, sgd_g, rng, iterations, k=1):
    """The update of the authors' own code: both gradients at the same parameters, from one generated minibatch and one set of masks.

    ValueError unless k = 1: there is no step of D alone.
    """
    if k != 1:
        raise ValueError(f"the simultaneous update has one step of D to one of G: k = {k} is for Algorithm 1")
    for i in range(iterations):
        sample(p, prior, rng, p.d)
        V, D_x, D_Gz = discriminator_gradient(p, next(examples), p.z)
        generator_backward(p)
        sgd_d.ascend()
        sgd_g.descend()
        yield Record(i, V, D_x, D_Gz, norm(p.D.grad), norm(p.G.grad))


UPDATES = {"algorithm1": train, "simultaneous": train_simultaneous}


def skip(p, examples, prior, rng, iterations, k=1, update="algorithm1"):
    """Draw, and drop, all that an update draws in so many iterations: a resumed epoch goes on from where its random streams stood."""
    for i in range(iterations):
        for _ in range(steps(k, i)):
            sample(p, prior, rng, p.d)
            next(examples)
        if update == "algorithm1":
            sample(p, prior, rng, p.fake)


def norm(g):
    """|g|"""
    return xp.sqrt(xp.vdot(g, g))
