"""Stochastic gradient ascent and descent, with momentum or Adam, and the mean of the iterates; schedules; projections after each step."""

import contextlib
import math

from npgan import backend as xp

EVERY = 10                      # updates between two that enter the mean


class Momentum:
    """v <- mu v + lr g;  ascend adds v to theta, descend takes it away.

    lr and mu are numbers, or schedules: functions of t, the number of updates so far. g is net.grad, theta is net.theta.
    `project(net)`, if given, follows each update. `slots` names the vectors that it keeps from one update to the next.
    """

    slots = ("v",)

    def __init__(self, net, lr, mu=0., project=None):
        self.net, self.lr, self.mu, self.project = net, lr, mu, project
        self.v = xp.zeros_like(net.theta)
        self.t = self.every = 0

    def average(self, n):
        """Keep, as the slot `mean`, the mean of theta over about the last n updates:  mean <- mean + (theta - mean) / min(t, n)

        Stochastic gradients keep theta moving about the point it is heading for, the more the larger lr is; the mean of where it has
        been is nearer to that point (Polyak and Juditsky 1992; for GANs Yazici et al. 2019), and training takes no notice. Neighbours are
        much alike: theta enters after every EVERY-th update, with EVERY times the weight. ValueError unless n is 1 or more.
        """
        if n < 1:
            raise ValueError(f"average({n}): a mean is over 1 update or more")
        self.n, self.every, self.mean, self.slots = n, min(n, EVERY), self.net.theta.copy(), (*type(self).slots, "mean")

    @contextlib.contextmanager
    def averaged(self):
        """A context in which the network's theta is the mean, if one is kept."""
        if not self.every:
            yield
            return
        theta = self.net.theta.copy()
        try:
            self.net.theta[...] = self.mean
            yield
        finally:
            self.net.theta[...] = theta

    def ascend(self):
        self._step(+1)

    def descend(self):
        self._step(-1)

    def _step(self, sign):
        self._update(sign, at(self.lr, self.t))
        self.t += 1
        if self.project:
            self.project(self.net)
        if self.every and (self.t % self.every == 0 or self.t < self.every):
            xp.approach(self.mean, self.net.theta, self.every / max(self.every, min(self.t, self.n)))

    def _update(self, sign, lr):
        xp.momentum(self.net.theta, self.v, self.net.grad, lr, at(self.mu, self.t), sign)


class Adam(Momentum):
    """v <- b1 v + (1 - b1) g;  s <- b2 s + (1 - b2) g^2;  the step is lr sqrt(1 - b2^t) / (1 - b1^t) v / (sqrt s + eps)

    For each number its own rate, by the size of its recent gradients (Kingma and Ba 2015, end of section 2). With b1 = 0: RMSProp.
    """

    slots = ("v", "s")

    def __init__(self, net, lr, b1=.9, b2=.999, eps=1e-8, project=None):
        super().__init__(net, lr, project=project)
        self.b1, self.b2, self.eps = b1, b2, eps
        self.s = xp.zeros_like(net.theta)

    def _update(self, sign, lr):
        b1, b2, t = self.b1, self.b2, self.t + 1
        lr *= sign * math.sqrt(1 - b2 ** t) / (1 - b1 ** t)
        xp.adam(self.net.theta, self.v, self.s, self.net.grad, lr, b1, b2, self.eps)


# --- Schedules: functions of t, so that a resumed run needs no more than t -------------------------------------------------


def at(value, t):
    """The value of a number or of a schedule at t."""
    return value(t) if callable(value) else value


def steps(k, i):
    """k, D's steps for each of G's, at iteration i. ValueError if k < 1."""
    k = at(k, i)
    if k < 1:
        raise ValueError(f"k = {k} at iteration {i}: D makes one step or more")
    return k


class Decay:
    """lr(t) = max(lr / factor^t, minimum): the paper's factor is 1.000004, its minimum 1e-6"""

    def __init__(self, lr, factor=1.000004, minimum=1e-6):
        self.lr, self.factor, self.minimum = lr, factor, minimum

    def __call__(self, t):
        return max(self.lr * self.factor ** -t, self.minimum)


class Fall:
    """lr constant in the first half of `updates` updates, then falling linearly to 0"""

    def __init__(self, lr, updates):
        self.lr, self.updates = lr, updates

    def __call__(self, t):
        return self.lr * min(1, 2 * max(1 - t / self.updates, 0))


class Ramp:
    """A value constant within an epoch of `updates` updates, linear from `start` in the first to `end` in epoch `epochs`: the paper's mu"""

    def __init__(self, updates, start=.5, end=.7, epochs=250):
        self.updates, self.start, self.end, self.epochs = updates, start, end, epochs

    def __call__(self, t):
        return self.start + (self.end - self.start) * min(t // self.updates / max(self.epochs - 1, 1), 1)


class WarmUp:
    """k(i) = first if i < until or `every` divides i, else k: how many steps of D iteration i of Algorithm 1 takes (gan.train).

    The defaults are those of the authors' code for Arjovsky, Chintala, Bottou 2017, whose paper has k = 5 throughout: a critic close to
    its optimum gives G the gradient of a distance, so it is brought there at the start, and now and then.
    """

    def __init__(self, k=5, first=100, until=25, every=500):
        self.k, self.first, self.until, self.every = k, first, until, every

    def __call__(self, i):
        return self.first if i < self.until or i % self.every == 0 else self.k


# --- Projections: functions of the network, theta <- the nearest point of the set -----------------------------------------


class MaxColumnNorm:
    """|W_j| <= limit for each unit j, a column of each W (n, k); the paper's limit on TFD is 1.9365"""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, net):
        for name, W in net.named_parameters().items():
            if name.endswith(".W"):
                norm = xp.linalg.norm(W, axis=0)
                W *= self.limit / xp.maximum(norm, self.limit)


class Clip:
    """-limit <= theta_i <= limit: the Wasserstein critic's (Arjovsky, Chintala, Bottou 2017)"""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, net):
        xp.clip(net.theta, -self.limit, self.limit, out=net.theta)
