"""How a player follows its gradient: updates, the mean of the iterates, schedules, projections.

An optimizer reads net.grad and moves net.theta, both flat vectors. `ascend` climbs, `descend`
goes down. Each class shows the equation of its update beside the call of its kernel
(kernels.py). A schedule is a function of t, the number of the optimizer's updates so far, so a
resumed run needs only t.

Study page: docs/study/optimizers.html
"""

import contextlib
import math

from npgan import backend as xp
from npgan import kernels


class Momentum:
    """Stochastic gradient ascent or descent with momentum:

        v     <- mu v + lr g               g = net.grad
        theta <- theta + v  (ascend)       theta <- theta - v  (descend)

    lr, mu: numbers, or schedules. project(net), if given, follows each update.
    `slots` names the vectors that the optimizer keeps from one update to the next.
    """

    slots = ("v",)

    def __init__(self, net, lr, mu=0., project=None):
        self.net, self.lr, self.mu, self.project = net, lr, mu, project
        self.v = xp.zeros_like(net.theta)
        self.t, self.stride = 0, None

    def ascend(self):
        self._step(+1)

    def descend(self):
        self._step(-1)

    def _step(self, sign):
        self._update(sign, value_at(self.lr, self.t))
        self.t += 1
        if self.project:
            self.project(self.net)
        if self.stride:
            self._update_mean()

    def _update(self, sign, lr):
        # v <- mu v + lr g;  theta <- theta + sign v
        kernels.momentum(self.net.theta, self.v, self.net.grad, lr, value_at(self.mu, self.t), sign)

    def average(self, n):
        """Keep the mean of the iterates in the slot `mean`. Training is not affected.

        Every s-th iterate enters the mean, at t = s, 2s, 3s, ..., where s = n / 100 rounded
        down, but at least 1 and at most 10:

            mean <- mean + w (theta - mean),     w = s / min(t, n)

        Up to t = n this is exactly the mean of the iterates that entered; for n < 200 all of
        them enter. After that it is an exponential moving average whose weights fall by
        about a factor e in n updates. Before the first entry `mean` is theta.

        Stochastic gradients keep theta moving around the point that it heads for. The mean is
        nearer to this point (Polyak and Juditsky 1992; for GANs Yazici et al. 2019).
        Neighbouring iterates are much alike, so a long mean loses little if it skips some.
        Raises ValueError unless n >= 1.
        """
        if n < 1:
            raise ValueError(f"average({n}): a mean is over 1 update or more")
        self.n, self.stride = n, min(max(n // 100, 1), 10)
        self.mean, self.slots = self.net.theta.copy(), (*type(self).slots, "mean")

    def _update_mean(self):
        if self.t < self.stride:
            self.mean[...] = self.net.theta
        elif self.t % self.stride == 0:
            # mean <- mean + w (theta - mean)
            kernels.lerp(self.mean, self.net.theta, self.stride / min(self.t, self.n))

    @contextlib.contextmanager
    def averaged(self):
        """A context in which net.theta is the mean, if one is kept."""
        if not self.stride:
            yield
            return
        theta = self.net.theta.copy()
        try:
            self.net.theta[...] = self.mean
            yield
        finally:
            self.net.theta[...] = theta


class Adam(Momentum):
    """Adam (Kingma and Ba 2015, end of section 2; their m is v here, their v is s):

        v     <- b1 v + (1 - b1) g         s <- b2 s + (1 - b2) g^2
        theta <- theta +- lr sqrt(1 - b2^t) / (1 - b1^t) v / (sqrt s + eps)

    So each parameter has its own rate, which depends on the size of its recent gradients. With
    b1 = 0 this is RMSProp with Adam's bias correction.
    """

    slots = ("v", "s")

    def __init__(self, net, lr, b1=.9, b2=.999, eps=1e-8, project=None):
        super().__init__(net, lr, project=project)
        self.b1, self.b2, self.eps = b1, b2, eps
        self.s = xp.zeros_like(net.theta)

    def _update(self, sign, lr):
        # v, s <- means of g, g^2;  theta <- theta + rate v / (sqrt s + eps)
        b1, b2, t = self.b1, self.b2, self.t + 1
        rate = lr * (sign * math.sqrt(1 - b2 ** t) / (1 - b1 ** t))
        kernels.adam(self.net.theta, self.v, self.s, self.net.grad, rate, b1, b2, self.eps)


# --- Schedules --------------------------------------------------------------------------------


def value_at(value, t):
    """The value at t of a number or of a schedule."""
    return value(t) if callable(value) else value


def steps(k, i):
    """k at iteration i: D's steps for one step of G. Raises ValueError if k < 1."""
    k = value_at(k, i)
    if k < 1:
        raise ValueError(f"k = {k} at iteration {i}: D makes one step or more")
    return k


class Decay:
    """lr(t) = max(lr / factor^t, minimum), with the defaults of the 2014 paper's code"""

    def __init__(self, lr, factor=1.000004, minimum=1e-6):
        self.lr, self.factor, self.minimum = lr, factor, minimum

    def __call__(self, t):
        return max(self.lr * self.factor ** -t, self.minimum)


class LinearDecay:
    """lr is constant in the first half of `updates` updates, then falls linearly to 0."""

    def __init__(self, lr, updates):
        self.lr, self.updates = lr, updates

    def __call__(self, t):
        return self.lr * min(1, 2 * max(1 - t / self.updates, 0))


class Ramp:
    """A value that changes linearly from epoch to epoch, as mu does in the 2014 paper's code.

    It is constant within an epoch of `updates` updates: `start` in the first epoch, `end` in
    epoch number `epochs` and after it.
    """

    def __init__(self, updates, start=.5, end=.7, epochs=250):
        self.updates, self.start, self.end, self.epochs = updates, start, end, epochs

    def __call__(self, t):
        epoch = t // self.updates                       # from 0 on
        return self.start + (self.end - self.start) * min(epoch / max(self.epochs - 1, 1), 1)


class WarmUp:
    """D's steps k: `first` if i < until or `every` divides i, otherwise k; i is the iteration.

    In the Wasserstein GAN D is called a critic. Near its optimum the critic gives G the
    gradient of a distance. So D takes `first` steps at the start, and again now and then. The
    defaults are those of the authors' code for Arjovsky, Chintala, Bottou 2017; their paper has
    k = 5 throughout.
    """

    def __init__(self, k=5, first=100, until=25, every=500):
        self.k, self.first, self.until, self.every = k, first, until, every

    def __call__(self, i):
        return self.first if i < self.until or i % self.every == 0 else self.k


# --- Projections: functions of the network that move theta to the nearest point of a set -----


class MaxColumnNorm:
    """|W_j| <= limit for each column W_j of each W (n, k); 1.9365 in the authors' TFD code"""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, net):
        for name, W in net.named_parameters().items():
            if name.endswith(".W"):
                norm = xp.linalg.norm(W, axis=0)
                W *= self.limit / xp.maximum(norm, self.limit)


class Clip:
    """-limit <= theta_i <= limit, as in Wasserstein GAN (Arjovsky, Chintala, Bottou 2017)"""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, net):
        xp.clip(net.theta, -self.limit, self.limit, out=net.theta)
