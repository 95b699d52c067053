"""The laboratory's Python side: it trains G and D with npgan, and tells a page what to draw.

The page sends messages, for example {"kind": "run", "on": true}. The answers go back through
one function, post(text, frame). In the browser worker.js runs this module; examples/lab.py
runs it in a native process. The module calls the package npgan and changes nothing in it.

    SETTINGS        what a user can choose, with ranges; the page makes its controls of them
    Line, Plane     what a frame shows of G and D, on a line and in the plane
    Game            the players, their optimizers, and Algorithm 1 in progress
    traced          one iteration, recorded line by line
    Lab             the messages
"""

import json
import math
import platform
import statistics
import sys
import time
import traceback

import numpy as np

from npgan import backend as xp
from npgan import gan, metrics, theory
from npgan.data import toy
from npgan.divergences import OBJECTIVES
from npgan.layers import LeakyReLU, Linear, ReLU, Tanh, constant, glorot, he, uniform
from npgan.net import Net
from npgan.objectives import GENERATOR_LOSSES
from npgan.optim import Adam, Clip, Momentum
from npgan.penalty import R1, GradientPenalty
from npgan.priors import Normal, Uniform

EXAMPLES = 20_000               # the data set: samples of p_data, from which minibatches are drawn
SHOWN, DRAWN = 256, 1000        # samples G(z) in a frame; data points that the page draws
CELLS, QUANTILES = 200, 512     # on a line: cells of the grid of x; z at equal distances
ARROWS_LINE = 64                # on a line: how many of these z have an arrow to G(z)
SIDE, LINES, ARROWS = 30, 15, 64    # in the plane: D's map, G's manifold, samples with an arrow
FOREVER = 10 ** 9               # iterations
TRAINING = .015                 # seconds of training between two frames, if drawing is fast
SHORTEST, LONGEST = 1 / 60, .028    # seconds from one frame to the next
HEART = [[.055 * 16 * math.sin(t) ** 3,
          .055 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))]
         for t in (2 * math.pi * i / 120 for i in range(120))]


# --- Settings ---------------------------------------------------------------------------------


def choice(name, label, choices, default, help, **more):
    return {"name": name, "label": label, "type": "choice", "choices": list(choices), "default": default,
            "help": help, "rebuilds": False, **more}


def number(name, label, type, low, high, default, help, **more):
    return {"name": name, "label": label, "type": type, "low": low, "high": high, "default": default,
            "step": 1 if type == "int" else .01, "help": help, "rebuilds": False, **more}


# rebuilds: whether a new value needs new networks
# only: {another setting: values}. At other values of that setting, this setting has no effect.
GROUPS = {
    "Data": [
        choice("data", "data", [*toy.ON_A_LINE, *toy.IN_THE_PLANE, "drawn"], "ring",
               "The distribution p_data. The first three are on a line, the others in the plane."),
        {"name": "points", "label": "drawing", "type": "points", "low": -1., "high": 1., "most": 5000,
         "default": HEART, "help": "The points that you draw: p_data is a small Gaussian at each of them.",
         "rebuilds": False, "only": {"data": ["drawn"]}},
        number("m", "minibatch m", "int", 1, 1024, 64, "The number of examples in a minibatch."),
        number("seed", "seed", "int", 0, 2 ** 31 - 1, 0, "The seed of all random numbers.", rebuilds=True)],
    "Game": [
        choice("objective", "objective", OBJECTIVES, "gan",
               "The value V that D makes large: equation 1 (gan), an f-divergence, or Wasserstein."),
        choice("generator_loss", "loss of G", GENERATOR_LOSSES, "non-saturating",
               "With gan, non-saturating: G ascends log D(G(z)). minimax: G descends log(1 - D(G(z)))."),
        choice("penalty", "penalty on D", ["none", "R1", "gradient", "clipping"], "R1",
               "R1: D becomes flat at the data. gradient: D gets slope 1 between data and samples. "
               "clipping: each weight of D stays between -c and c."),
        number("weight", "weight of the penalty", "log", 1e-3, 100., .05,
               "gamma of R1, lambda of gradient, or the limit c of clipping.",
               only={"penalty": ["R1", "gradient", "clipping"]})],
    "Learning": [
        choice("train", "train", ["both", "D", "G"], "both",
               "Who learns. If D or G learns alone, the other one does not change, as in panels (b) and (c) "
               "of Figure 1."),
        choice("update", "update", ["alternating", "simultaneous"], "alternating",
               "alternating: first D moves, then G, as in Algorithm 1. simultaneous: D and G move at "
               "the same time."),
        number("k", "k", "int", 1, 20, 1, "The number of steps of D for each step of G.",
               only={"update": ["alternating"]}),
        choice("optimizer", "optimizer", ["Adam", "momentum"], "Adam",
               "How D and G make a step from their gradients."),
        number("lr_d", "learning rate of D", "log", 1e-5, 1., .004, "How far a step moves D."),
        number("lr_g", "learning rate of G", "log", 1e-5, 1., .002, "How far a step moves G."),
        number("momentum", "momentum", "number", 0., .99, 0., "The number mu of momentum, or b1 of Adam.")],
    "Networks": [
        choice("generator", "generator", ["network", "affine"], "network",
               "network: G has hidden layers. affine: G(z) = z W + b, which stretches, turns and moves z.",
               rebuilds=True),
        choice("prior", "noise prior", ["uniform", "normal"], "uniform",
               "z is uniform from -1 to 1, or normal with variance 1.", rebuilds=True),
        number("width", "width", "int", 1, 256, 32, "The units in each hidden layer.", rebuilds=True),
        number("depth", "depth", "int", 1, 6, 2, "The number of hidden layers.", rebuilds=True)],
}
SCHEMA = [{"group": group, **setting} for group, settings in GROUPS.items() for setting in settings]
SETTINGS = {setting["name"]: setting for setting in SCHEMA}
REBUILDS = [name for name, setting in SETTINGS.items() if setting["rebuilds"]]


def checked(settings):
    """The settings with their right types. Raises ValueError, naming the setting."""
    if not isinstance(settings, dict):
        raise ValueError(f"the settings are {settings!r}, but must be an object of names and values")
    return {name: checked_value(name, value) for name, value in settings.items()}


def checked_value(name, value):
    s = SETTINGS.get(name)
    if s is None:
        raise ValueError(f"there is no setting {name!r}: take one of {', '.join(SETTINGS)}")
    if s["type"] == "choice":
        if value not in s["choices"]:
            raise ValueError(f"{name} = {value!r} is unknown: take one of {', '.join(s['choices'])}")
        return value
    if s["type"] == "points":
        if not (isinstance(value, list) and 1 <= len(value) <= s["most"] and all(map(is_point, value))):
            raise ValueError(f"points: give 1 to {s['most']} points [x, y], with x and y from -1 to 1")
        return value
    kind, number = ("an integer", int) if s["type"] == "int" else ("a number", float)
    if not (is_number(value) and s["low"] <= value <= s["high"] and value == number(value)):
        raise ValueError(f"{name} = {value!r}: give {kind} from {s['low']} to {s['high']}")
    return number(value)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_point(value):
    return (isinstance(value, list) and len(value) == 2
            and all(is_number(coordinate) and -1 <= coordinate <= 1 for coordinate in value))


def prior(settings):
    """The noise prior p_z, for z of any length"""
    return {"uniform": Uniform(1.), "normal": Normal()}[settings["prior"]]


def quantiles(settings, n):
    """n numbers z, from low to high, that divide the prior into parts of equal probability."""
    u = (np.arange(n) + .5) / n
    if settings["prior"] == "uniform":
        return 2 * u - 1
    return np.array([statistics.NormalDist().inv_cdf(each) for each in u])


def noise(settings, d):
    """The samples z (SHOWN, d) of the prior whose G(z) all frames show."""
    z = np.empty((SHOWN, d), "float32")
    prior(settings)(np.random.default_rng((settings["seed"], 2)), z)
    return z


def distribution(settings):
    """p_data, a toy.Toy"""
    if settings["data"] == "drawn":
        return toy.mixture("drawn", settings["points"], .03)._replace(extent=(-1.2, 1.2))
    if settings["data"] == "ring":
        return toy.ring(sd=.05)         # as in examples/hello.py; the default modes are hard to see
    return (toy.ON_A_LINE | toy.IN_THE_PLANE)[settings["data"]]()


# --- What a frame shows -----------------------------------------------------------------------


def shown_D(objective, a):
    """D(x), the probability of "real", from the logits a.

    A critic gives no probability. So its values are first given the mean 0 and the standard
    deviation 1. Then the sigmoid maps them to [0, 1].
    """
    if objective.f is None:
        a = (a - a.mean()) / xp.maximum(a.std(), 1e-6)
    return xp.asnumpy(objective.prob(a))[:, 0]


class Line:
    """p_g, D and D* on a grid of x, and how G maps z to x. The tapes serve all frames."""

    dimension = 1
    layout = [("V_optimal", ()), ("JSD", ()), ("p_g", (CELLS,)), ("D", (CELLS,)), ("D_star", (CELLS,)),
              ("map_x", (ARROWS_LINE,)), ("samples", (SHOWN,))]

    def __init__(self, G, D, scale, data, x, settings):
        self.G, self.D, self.scale = G, D, scale
        self.edges = np.linspace(*data.extent, CELLS + 1)
        grid = (self.edges[1:] + self.edges[:-1]) / 2
        self.dx = self.edges[1] - self.edges[0]
        p_data = data.density(grid[:, None])
        self.data = p_data                                              # the page draws this curve
        self.P = np.concatenate([[0], p_data, [0]]) / p_data.sum()      # the probability of each cell
        z = quantiles(settings, QUANTILES)
        arrows = np.arange(ARROWS_LINE) * (QUANTILES // ARROWS_LINE) + QUANTILES // ARROWS_LINE // 2
        self.arrows, self.fixed = arrows, {"x": grid, "z": z[arrows]}
        self.tape_d = D.tape(CELLS, backward=False)
        self.tape_g = G.tape(QUANTILES + SHOWN, backward=False)
        self.tape_d.x[0][...] = xp.asarray(grid[:, None] / scale)
        self.tape_g.x[0][...] = xp.asarray(np.concatenate([z[:, None], noise(settings, 1)]))

    def look(self, players, show):
        """Write all arrays of the layout into `show`."""
        self.D.forward(self.tape_d)
        self.G.forward(self.tape_g)
        Gz = xp.asnumpy(self.tape_g.x[-1])[:, 0].astype(float) * self.scale
        show["map_x"][...], show["samples"][...] = Gz[self.arrows], Gz[QUANTILES:]
        if not np.isfinite(Gz).all():
            return                                                      # Game.look raises the error
        P_g = self.probabilities(Gz[:QUANTILES])
        show["p_g"][...] = P_g[1:-1] / self.dx
        show["D"][...] = shown_D(players.objective, self.tape_d.x[-1])
        show["D_star"][...] = xp.asnumpy(theory.optimal_discriminator(self.P, P_g))[1:-1]
        show["JSD"][...] = theory.jsd(self.P, P_g)
        if players.objective.name == "gan":
            show["V_optimal"][...] = theory.criterion(self.P, P_g)      # V(G, D*) = C(G), equation 4
        else:
            show["V_optimal"][...] = math.nan                           # the maximum of another V

    def probabilities(self, Gz):
        """The probabilities of G(z) below the grid, in each of its cells, and above the grid.

        All z are equally likely. G is taken to be linear between neighbouring z.
        """
        low, high = np.minimum(Gz[1:], Gz[:-1]), np.maximum(Gz[1:], Gz[:-1])
        below = np.clip((self.edges[:, None] - low) / np.maximum(high - low, 1e-12), 0, 1).mean(axis=1)
        return np.diff(below, prepend=0, append=1)


class Plane:
    """D(x) on a square of x, samples G(z) with the gradient of G's loss J, and G on a lattice
    of z. The tapes serve all frames.
    """

    dimension = 2
    layout = [("covered", ()), ("good", ()), ("D", (SIDE, SIDE)), ("grid", (LINES, LINES, 2)),
              ("samples", (SHOWN, 2)), ("arrows_from", (ARROWS, 2)), ("arrows", (ARROWS, 2))]

    def __init__(self, G, D, scale, data, x, settings):
        self.G, self.D, self.scale, self.toy = G, D, scale, data
        self.data = x[:DRAWN]                                           # the page draws these points
        self.fixed = {} if data.modes is None else {"modes": data.modes}
        edges = np.linspace(*data.extent, SIDE + 1)
        square, lattice = pairs((edges[1:] + edges[:-1]) / 2), pairs(quantiles(settings, LINES))
        self.tape_d = D.tape(SIDE ** 2 + ARROWS)
        self.tape_square, self.tape_arrows = self.tape_d[:SIDE ** 2], self.tape_d[SIDE ** 2:]
        self.tape_g = G.tape(LINES ** 2 + SHOWN, backward=False)
        self.tape_square.x[0][...] = xp.asarray(square / scale)
        self.tape_g.x[0][...] = xp.asarray(np.concatenate([lattice, noise(settings, 2)]))

    def look(self, players, show):
        """Write all arrays of the layout into `show`."""
        objective, tape = players.objective, self.tape_arrows
        self.G.forward(self.tape_g)
        tape.x[0][...] = self.tape_g.x[-1][LINES ** 2:LINES ** 2 + ARROWS]
        self.D.forward(self.tape_d)
        tape.dx[-1][...] = objective.dJ(tape.x[-1], players.generator_loss)
        self.D.backward(tape, parameters=False)                         # dJ/dG(z)
        Gz = xp.asnumpy(self.tape_g.x[-1]) * self.scale
        show["D"][...] = shown_D(objective, self.tape_square.x[-1]).reshape(SIDE, SIDE)
        show["grid"][...] = Gz[:LINES ** 2].reshape(LINES, LINES, 2)
        show["samples"][...] = samples = Gz[LINES ** 2:]
        show["arrows_from"][...] = samples[:ARROWS]
        show["arrows"][...] = -xp.asnumpy(tape.dx[0]) / self.scale
        if self.toy.modes is None or not np.isfinite(samples).all():
            show["covered"][...] = show["good"][...] = math.nan
        else:
            found = metrics.coverage(samples, self.toy.modes, self.toy.sd)
            show["covered"][...], show["good"][...] = found.modes, found.high_quality


def pairs(axis):
    """All points of a square lattice, (n^2, 2); the first coordinate runs faster."""
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


# --- The game ---------------------------------------------------------------------------------


class Still:
    """An optimizer for a player that stands still, while the other player trains alone."""

    def ascend(self):
        pass

    descend = ascend


def network(inputs, outputs, settings, activation, seed, first, W):
    """Linear - activation - ... - Linear, with `depth` hidden layers.

    first: the initialisers of the first layer     W: of the weights of the others
    """
    width, depth = settings["width"], settings["depth"]
    layers = [Linear(inputs, width, *first), activation()]
    for _ in range(depth - 1):
        layers += [Linear(width, width, W), activation()]
    return Net([*layers, Linear(width, outputs, W)], seed=seed)


def networks(n, settings):
    """G and D for points of n coordinates, as in examples/figure1.py (1) and toy2d.py (2)."""
    seed, c = settings["seed"], settings["weight"]
    if n == 1:          # the ranges spread the bends of the tanh units over all z (G) and all x (D)
        G = network(n, n, settings, Tanh, 2 * seed, (uniform(2), uniform(2)), glorot)
        activation, first, W = Tanh, (uniform(1), uniform(3)), glorot
    else:
        G = network(n, n, settings, ReLU, 2 * seed, (he,), he)
        activation, first, W = LeakyReLU, (he,), he
    if settings["penalty"] == "clipping":                               # as in examples/wasserstein.py
        first, W = (uniform(c), uniform(c)), uniform(c)
    if settings["generator"] == "affine":
        G = Net([Linear(n, n, constant(np.eye(n)))])                    # G(z) = z at first
    return G, network(n, 1, settings, activation, 2 * seed + 1, first, W)


class Game:
    """G and D, their optimizers, and Algorithm 1 in progress."""

    def __init__(self, settings):
        self.iterations, self.settings, self.record = 0, {}, None
        self.G, self.D = networks(distribution(settings).centres.shape[1], settings)
        self.rng = xp.default_rng(settings["seed"])
        self.change(settings)

    def change(self, settings):
        """Go on with these settings, from the same theta.

        The vectors of the optimizers stay too, unless the optimizer is another one. The
        minibatches begin again if the data or m are others.
        """
        changed = {name for name in settings if settings[name] != self.settings.get(name)}
        self.settings = settings
        if changed & {"data", "points"}:
            self.make_data()
        if changed & {"data", "points", "m"}:
            self.examples = toy.endless(self.x, settings["m"], settings["seed"])
        if "optimizer" in changed:
            kind = {"Adam": Adam, "momentum": Momentum}[settings["optimizer"]]
            self.sgd_d, self.sgd_g = kind(self.D, settings["lr_d"]), kind(self.G, settings["lr_g"])
        self.set_optimizers()
        self.make_players()

    def make_data(self):
        """The data set, and what frames show of it. The players see x / scale."""
        seed, data = self.settings["seed"], distribution(self.settings)
        x = data.sample(EXAMPLES, (seed, 1))
        self.scale, self.extent = float(x.std()), data.extent
        self.x = xp.asarray(x / np.float32(self.scale))
        kind = Line if x.shape[1] == 1 else Plane
        self.view = kind(self.G, self.D, self.scale, data, x, self.settings)
        self.make_frame()

    def set_optimizers(self):
        s = self.settings
        for sgd, lr in (self.sgd_d, s["lr_d"]), (self.sgd_g, s["lr_g"]):
            sgd.lr = lr
            if isinstance(sgd, Adam):
                sgd.b1, sgd.b2 = s["momentum"], .99
            else:
                sgd.mu = s["momentum"]
        self.sgd_d.project = Clip(s["weight"]) if s["penalty"] == "clipping" else None

    def make_players(self):
        """New buffers for the same G and D, and a new pass through Algorithm 1."""
        s = self.settings
        penalty = {"R1": R1, "gradient": GradientPenalty}.get(s["penalty"])
        self.players = p = gan.Players(self.G, self.D, s["m"], OBJECTIVES[s["objective"]],
                                       s["generator_loss"], penalty=penalty and penalty(s["weight"]))
        for buffer in (p.z, p.dGz, p.tape_g.x[0], p.tape_d.x[0], p.tape_d.x[-1]):
            buffer[...] = 0                 # a trace shows these buffers before they are written
        sgd_d = Still() if s["train"] == "G" else self.sgd_d
        sgd_g = Still() if s["train"] == "D" else self.sgd_g
        train, k = (gan.train, s["k"]) if s["update"] == "alternating" else (gan.train_simultaneous, 1)
        self.game = train(self.players, self.examples, prior(s), sgd_d, sgd_g, self.rng, FOREVER, k)

    def buffers(self):
        """The arrays of an iteration, by the paper's names."""
        p = self.players
        return {"z": p.z, "x": p.x, "Gz": p.Gz, "dGz": p.dGz,
                "a_x": p.tape_real.x[-1], "a_Gz": p.tape_fake.x[-1],
                "theta_d": self.D.theta, "grad_theta_d": self.D.grad,
                "theta_g": self.G.theta, "grad_theta_g": self.G.grad}

    def iterate(self):
        """One iteration. Raises FloatingPointError if a number of it is not finite."""
        with np.errstate(all="ignore"):     # instead of NumPy's warnings, the error below
            self.record = r = next(self.game)
            finite = math.isfinite(r.V + r.norm_d + r.norm_g)
        self.iterations += 1
        if not finite:
            raise self.not_finite()

    def not_finite(self):
        return FloatingPointError(
            f"Iteration {self.iterations}: V, a gradient or theta is not finite. Press Reset. Then try "
            "smaller learning rates, a penalty on D, or the objective gan.")

    def move(self, by):
        """Move all G(z) by this distance, in the units of the data."""
        self.G.layers[-1].b += by / self.scale

    # --- Frames

    def make_frame(self):
        """The vector of a frame, and its parts by name."""
        numbers = "iteration", "V", "D_x", "D_Gz", "norm_d", "norm_g"
        self.layout = [*((name, ()) for name in numbers), *self.view.layout]
        self.frame, self.show, at = np.zeros(sum(math.prod(s) for _, s in self.layout), "float32"), {}, 0
        for name, shape in self.layout:
            self.show[name] = self.frame[at:at + math.prod(shape)].reshape(shape)
            at += math.prod(shape)
        if self.record is None:
            self.frame[...] = math.nan                                  # until the first iteration

    def look(self):
        """Write the frame of this moment, and return it. The next frame overwrites it."""
        if self.record:
            for name in ("V", "D_x", "D_Gz", "norm_d", "norm_g"):
                self.show[name][...] = float(getattr(self.record, name))
        if not all(bool(xp.isfinite(net.theta).all()) for net in (self.G, self.D)):
            raise self.not_finite()
        self.show["iteration"][...] = self.iterations
        with np.errstate(all="ignore"):     # far from the data, dJ of some objectives overflows
            self.view.look(self.players, self.show)
        if not np.isfinite(self.show["samples"]).all():
            raise self.not_finite()         # theta is finite, but too large
        return self.frame


# --- One iteration, line by line --------------------------------------------------------------


def traced(game):
    """Run one iteration. Return the lines of gan.py in the order in which they ran.

    An entry shows the arrays and the real numbers as they are before its line runs.
    """
    events, known = [], {}

    def trace(frame, event, argument):
        code = frame.f_code
        if code.co_filename != gan.__file__:
            return None
        if event == "line":
            seen = {**game.buffers(), **frame.f_locals}
            arrays = []
            for name, value in seen.items():
                if isinstance(value, (float, np.generic, np.ndarray, type(game.G.theta))):
                    a = np.array(xp.asnumpy(value))
                    if name not in known or not np.array_equal(known[name][0], a, equal_nan=True):
                        known[name] = a, {"name": name, **summary(a)}
                    arrays.append(known[name][1])
            events.append({"function": code.co_name, "line": frame.f_lineno, "arrays": arrays})
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        game.iterate()
    finally:
        sys.settrace(before)
    return events


def summary(a):
    """An array in few numbers: shape, mean, root mean square, and 16 bins from low to high."""
    values = a[np.isfinite(a)].astype(float)
    picture, edges = np.histogram(values, 16)
    whole = a.astype(float)
    return {"shape": a.shape, "mean": finite(whole.mean()), "rms": finite(np.sqrt((whole * whole).mean())),
            "picture": picture.tolist(), "low": float(edges[0]), "high": float(edges[-1])}


def finite(value):
    """A number for JSON, which has no nan: None stands for it."""
    value = float(value)
    return value if math.isfinite(value) else None


# --- Messages ---------------------------------------------------------------------------------


class Lab:
    """Answers a page's messages through post(text, frame).

    text is JSON. frame is a float32 vector, valid until post returns, or None. The first answer
    to a message carries the message's id, if it has one.
    """

    def __init__(self, post):
        self.post, self.game, self.id = post, None, None
        self.running, self.per_frame, self.looking, self.due = False, None, 0., 0.
        self.kinds = {"create": self.create, "set": self.set, "run": self.run, "iterate": self.iterate,
                      "trace": self.trace, "move": self.move, "theta": self.theta}
        with open(gan.__file__, encoding="utf-8") as f:
            self.say(kind="ready", schema=SCHEMA, sources={"npgan/gan.py": f.read()}, version=version())

    def say(self, frame=None, **message):
        if self.id is not None:
            message["id"], self.id = self.id, None
        self.post(json.dumps(message, allow_nan=False), frame)

    def receive(self, text):
        """Answer a message, which is JSON text."""
        try:
            self.answer(text)
        except FloatingPointError as e:
            self.stop(e)
        except Exception as e:
            self.say(kind="error", sentence=sentence(e))
        self.id = None

    def wait(self):
        """Seconds until the next frame is due. There are at most 60 frames a second."""
        return max(self.due - time.perf_counter(), 0)

    def tick(self):
        """Train for a few milliseconds and post a frame, if the page has said "run"."""
        if self.running:
            try:
                self.advance()
            except Exception as e:
                self.stop(e)

    def stop(self, error):
        self.running = False
        self.say(kind="stopped", sentence=sentence(error))

    def answer(self, text):
        try:
            message = json.loads(text)
        except ValueError as e:
            raise ValueError(f"the message is not JSON: {e}") from None
        if not isinstance(message, dict):
            raise ValueError(f"the message is {message!r}, but must be an object with a kind")
        self.id, kind = message.get("id"), message.get("kind")
        if not isinstance(kind, str) or kind not in self.kinds:
            raise ValueError(f"the message's kind is {kind!r}: take one of {', '.join(self.kinds)}")
        if self.game is None and kind != "create":
            raise ValueError(f'"{kind}": there are no players yet; send "create" first')
        self.kinds[kind](message)

    def create(self, message):
        defaults = {name: setting["default"] for name, setting in SETTINGS.items()}
        self.game = Game(defaults | checked(message.get("settings", {})))
        self.created(rebuilt=True)

    def set(self, message):
        old = self.game.settings
        new = old | checked(message.get("settings", {}))
        d = distribution(new).centres.shape[1]
        rebuilt = d != self.game.view.dimension or any(new[name] != old[name] for name in REBUILDS)
        if rebuilt:
            self.game = Game(new)
        else:
            self.game.change(new)
        self.created(rebuilt)

    def created(self, rebuilt):
        game, objective = self.game, self.game.players.objective
        self.say(kind="created", settings=game.settings, rebuilt=rebuilt, layout=game.layout,
                 data=np.ravel(game.view.data).tolist(), extent=game.extent, dimension=game.view.dimension,
                 fixed={name: np.ravel(a).tolist() for name, a in game.view.fixed.items()},
                 modes=len(game.view.fixed.get("modes", ())), probability=objective.f is not None,
                 optimum=objective.optimal_value)
        self.show()

    def run(self, message):
        self.running = message.get("on") is True
        self.per_frame = count(message, "per_frame", None)

    def iterate(self, message):
        for _ in range(count(message, "n", 1)):
            self.game.iterate()
        self.show()

    def trace(self, message):
        self.show(kind="trace", events=traced(self.game))

    def move(self, message):
        if self.game.view.dimension != 1 or not is_number(message.get("by")):
            raise ValueError('"move" needs data on a line, and a number "by"')
        self.game.move(message["by"])
        self.show()

    def theta(self, message):
        self.say(kind="theta", **{name: [finite(value) for value in xp.asnumpy(net.theta)]
                                  for name, net in (("G", self.game.G), ("D", self.game.D))})

    def advance(self):
        """Train for TRAINING seconds, for less if frames would come later than LONGEST."""
        begun = time.perf_counter()
        self.due = begun + SHORTEST
        end = begun + max(min(TRAINING, LONGEST - self.looking), TRAINING / 4)
        for _ in range(self.per_frame or FOREVER):
            self.game.iterate()
            if time.perf_counter() >= end:
                break
        trained = time.perf_counter()
        self.show()
        self.looking = time.perf_counter() - trained

    def show(self, kind="frame", **more):
        frame = self.game.look()
        self.say(frame, kind=kind, iterations=self.game.iterations, **more)


def sentence(error):
    """What the page says about an error. If the error does not explain itself, a traceback goes
    to the console.
    """
    if isinstance(error, (ValueError, FloatingPointError)):
        return str(error)
    traceback.print_exception(error)
    return f"The laboratory has an error, {type(error).__name__}: {error}. Press Reset to begin again."


def count(message, name, default):
    """An integer >= 1 of a message, or the default."""
    n = message.get(name)
    if n is None:
        return default
    if type(n) is not int or not 1 <= n <= 10_000:
        raise ValueError(f"{name} = {n!r}: give an integer from 1 to 10000")
    return n


def version():
    here = {"python": platform.python_version(), "numpy": np.__version__, "device": xp.name()}
    if sys.platform == "emscripten":
        import pyodide
        here |= {"pyodide": pyodide.__version__, "device": "WebAssembly"}
    return here
