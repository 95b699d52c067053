"""Fixtures that choose the backend: `xp` runs a test on every one, `device` on the stand-in that refuses and counts.

"compiled" is the stand-in with kernels: what it runs, "device" need not run as well where a test is slow.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")          # the matrices are small; read when NumPy is first imported

import compiled  # noqa: E402
import device as stand_in  # noqa: E402
import pytest  # noqa: E402

from npgan import backend  # noqa: E402


def pytest_collection_modifyitems(items):
    """Tests marked gpu are skipped where CuPy cannot run, and the reason says what is missing. "compiled" runs where a kernel is."""
    items[:] = [item for item in items if not (item.path.stem in ("test_theory", "test_example_faces") and "compiled" in item.name)]
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    try:
        if gpu:
            backend.use("cupy")
    except (ImportError, OSError) as e:
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason=str(e)))
    finally:
        backend.use("numpy")


@pytest.fixture(autouse=True)
def every_test_leaves_numpy_active():
    backend.use("numpy")
    yield
    left = backend.name()
    backend.use("numpy")
    assert left == "numpy", f"the test left the backend {left!r} active"


needs_compiler = pytest.mark.skipif(not compiled.COMPILER, reason="no C++ compiler, c++ or $CXX, to try the kernels with")
STAND_INS = {"device": stand_in, "compiled": compiled}


BACKENDS = ["numpy", "device", pytest.param("compiled", marks=needs_compiler), pytest.param("cupy", marks=pytest.mark.gpu)]


@pytest.fixture(params=BACKENDS)
def xp(request):
    """npgan.backend, switched to each array module in turn."""
    backend.use(STAND_INS.get(request.param, request.param))
    yield backend
    backend.use("numpy")


@pytest.fixture
def device():
    """The stand-in array module, active and with its counters at zero."""
    backend.use(stand_in)
    stand_in.reset()
    yield stand_in
    backend.use("numpy")


@pytest.fixture
def no_figures(monkeypatch):
    """matplotlib writes empty files. For tests that do not look at a figure: drawing one takes 0.3 s and more."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: open(path, "wb").close())


@pytest.fixture
def serve(monkeypatch):
    """serve(answer): from now on pooch gets the bytes answer(url) from an address, or cannot reach it if they are None. Returns the
    addresses asked."""
    import pooch

    def serve(answer):
        asked = []

        class Downloader:
            def __init__(self, progressbar, chunk_size, timeout):
                assert max(timeout) <= 30

            def __call__(self, url, output_file, pooch, check_only=False):
                asked.append(url)
                content = answer(url)
                if content is None:
                    raise ConnectionError("unreachable")
                with open(output_file, "wb") as file:
                    file.write(content)

        monkeypatch.setattr(pooch, "HTTPDownloader", Downloader)
        return asked

    return serve


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty user's cache, no NPGAN_DATA, and a network that must not be asked."""
    import pooch

    def no_network(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.delenv("NPGAN_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(pooch, "HTTPDownloader", no_network)
    return tmp_path / "cache" / "npgan"
