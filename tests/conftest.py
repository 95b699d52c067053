"""Fixtures for all test modules, and one skipped test where there is no GPU.

    xp                  npgan.backend with each array module in turn: NumPy, the stand-ins for
                        a GPU (device.py, compiled.py), and CuPy
    device              the stand-in device.py, with its counters at zero
    serve, offline      downloads without a network
    no_figures          matplotlib without its drawing
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for small matrices; before NumPy is imported

import compiled  # noqa: E402
import device as stand_in  # noqa: E402
import pytest  # noqa: E402

from npgan import backend, data  # noqa: E402

# Modules that run no kernel that other modules do not run.
WITHOUT_COMPILED = "test_theory", "test_example_faces", "test_lab"


@pytest.hookimpl(trylast=True)                          # after -k and -m
def pytest_collection_modifyitems(config, items):
    """Without a GPU, one of the tests that need it is skipped and says what is missing.

    The others are deselected.
    """
    items[:] = [item for item in items
                if not (item.path.stem in WITHOUT_COMPILED and "compiled" in item.name)]
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    reason = gpu and why_no_gpu()
    if reason:
        tests = "1 test needs" if len(gpu) == 1 else f"{len(gpu)} tests need"
        gpu[0].add_marker(pytest.mark.skip(reason=f"{tests} CuPy and an NVIDIA GPU: {reason}"))
        others = set(gpu[1:])
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)


def why_no_gpu():
    """Return what CuPy lacks to run here, or None."""
    try:
        backend.use("cupy")
    except (ImportError, OSError) as error:
        reason = str(error).removeprefix("NPGAN_BACKEND=cupy, but ")
        return reason.replace(", or set NPGAN_BACKEND=numpy", "")
    finally:
        backend.use("numpy")


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory):
    """The current folder of all tests: a temporary one, so that no test writes into yours."""
    folder, before = tmp_path_factory.mktemp("current"), os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(autouse=True)
def every_test_leaves_the_current_folder_empty(empty_folder):
    yield
    left = os.listdir(empty_folder)
    assert not left, f"the test left {left} in the current folder"


@pytest.fixture(autouse=True)
def every_test_leaves_numpy_active():
    backend.use("numpy")
    yield
    active = backend.name()
    backend.use("numpy")
    assert active == "numpy", f"the test left the backend {active!r} active"


needs_compiler = pytest.mark.skipif(
    not compiled.COMPILER, reason="the kernels run as C++, and there is no C++ compiler: c++ or $CXX")
STAND_INS = {"device": stand_in, "compiled": compiled}
BACKENDS = ["numpy", "device", pytest.param("compiled", marks=needs_compiler),
            pytest.param("cupy", marks=pytest.mark.gpu)]


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
    """matplotlib writes empty files, at once. For tests that do not look at a figure."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: open(path, "wb").close())


@pytest.fixture
def serve(monkeypatch):
    """serve(answer) lets pooch download from answer(url): bytes, or None if nothing is there.

    It returns the list of the addresses that are asked for.
    """
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
    """The path of an empty cache. NPGAN_DATA is not set, and a download fails the test."""
    import pooch

    def no_network(*args, **kwargs):
        raise AssertionError("a download was tried")

    data.tell.cache_clear()                                  # what earlier tests have printed
    monkeypatch.delenv("NPGAN_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(pooch, "HTTPDownloader", no_network)
    return tmp_path / "cache" / "npgan"
