"""The options that the examples share, and how their programs end."""

import argparse
import math
import os
import sys

from npgan import backend as xp
from npgan.divergences import OBJECTIVES
from npgan.objectives import GENERATOR_LOSSES

EXPECTED = ValueError, OSError, ImportError, FloatingPointError, MemoryError     # one sentence says what to do; others: a traceback



def number(kind, least, above=False):
    """An argparse type: a finite number of this kind, >= least, or > least."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (least < value < math.inf if above else least <= value < math.inf):
            what = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} {'>' if above else '>='} {least}")
        return value
    return parse


def game(parser, **defaults):
    """The options of every example that say which game is played."""
    parser.add_argument("--objective", choices=OBJECTIVES, help="the divergence, or other objective, of the game (default gan)",
                        **{"default": "gan"} | defaults)
    parser.add_argument("--generator-loss", choices=GENERATOR_LOSSES, help="G ascends T, with gan log D(G(z)) (non-saturating, default), "
                        "or descends -F, with gan log(1 - D(G(z))) (minimax)", **{"default": "non-saturating"} | defaults)


def usual(parser, out):
    """The options that almost every example has, --out with its default."""
    parser.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="seed of all random numbers (default 0)")
    parser.add_argument("--out", default=out, metavar="DIR", help=f"where everything goes (default {out})")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def folder(out, make=True):
    """The folder of --out, made. ValueError without a name, FileExistsError if it is a file."""
    if not out:
        raise ValueError('--out "": name a folder')
    if os.path.exists(out) and not os.path.isdir(out):
        raise FileExistsError(f"--out {out}: this is a file; name a folder")
    if make:
        os.makedirs(out, exist_ok=True)
    return out


def cuda_graphs():
    """Whether NPGAN_CUDA_GRAPH=1 asks for CUDA graphs (cuda.py) and the backend has them."""
    value = os.environ.get("NPGAN_CUDA_GRAPH", "0")
    if value not in ("0", "1"):
        raise ValueError(f'NPGAN_CUDA_GRAPH: "{value}" is unknown: set it to "1", or leave it out')
    return value == "1" and xp.compiles()


def command(parser, main, arrays=True):
    """A program's end: exit with what main(args) returns; with one sentence and 2 for what the user can mend, 130 at Ctrl-C.

    Without `arrays` it computes with none, and needs no backend.
    """
    args = parser.parse_args()
    try:
        if arrays:                                  # a bad environment variable is refused before anything is made
            xp.active()
            cuda_graphs()
        sys.exit(main(args))
    except EXPECTED as e:
        print(f"{os.path.basename(sys.argv[0])}: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{os.path.basename(sys.argv[0])}: interrupted before its end", file=sys.stderr)
        sys.exit(130)
