"""The laboratory in chromium: docs/lab, with Pyodide from the folder that NPGAN_PYODIDE names.

One page is loaded, and all tests use it in the order of this file.
"""

import functools
import http.server
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="these tests need the package playwright")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "lab"
CHROMIUM = Path("/usr/bin/chromium")
PYODIDE = Path(os.environ.get("NPGAN_PYODIDE", ""))
ARGS = ["--no-sandbox", "--disable-background-networking"]

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
    pytest.mark.skipif("NPGAN_PYODIDE" not in os.environ,
                       reason="NPGAN_PYODIDE does not name a folder with Pyodide and its NumPy wheel"),
    pytest.mark.skipif(not (PYODIDE / "pyodide.js").exists(), reason=f"{PYODIDE} has no pyodide.js"),
    pytest.mark.skipif(not any(PYODIDE.glob("numpy-*.whl")), reason=f"{PYODIDE} has no NumPy wheel")]


class Handler(http.server.SimpleHTTPRequestHandler):
    """The repository, with Pyodide under /pyodide/."""

    def translate_path(self, path):
        path = path.partition("?")[0]
        if path.startswith("/pyodide/"):
            return str(PYODIDE / path.removeprefix("/pyodide/"))
        return super().translate_path(path)

    def log_message(self, *args):
        """Print nothing."""


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(Handler, directory=str(ROOT))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/docs/lab/index.html"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def errors():
    """What the console of the page says besides information."""
    return []


@pytest.fixture(scope="module")
def page(browser, address, errors):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(60_000)
    page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}?pyodide=/pyodide/#seed=1&width=16&lr_d=0.01&objective=kl")
    page.wait_for_function("window.lab && lab.state.view")
    page.evaluate("""() => {
      lab.ask = message => lab.engine.ask(message);
      lab.number = name => lab.state.view[name];
      lab.array = name => Array.from(lab.state.view[name]);
    }""")
    return page


def ask(page, **message):
    return page.evaluate("message => lab.ask(message)", message)


def create(page, **settings):
    answer = page.evaluate("settings => lab.create(settings)", settings)
    assert answer["kind"] == "created"
    return answer


def iterate_to(page, iterations):
    """Train to this iteration, however many iterations the page has run before."""
    n = iterations - page.evaluate("lab.state.view.iterations")
    if n > 0:
        assert ask(page, kind="iterate", n=n)["kind"] == "frame"


def pause(page):
    """Pause. After the answer to `set`, the page knows all iterations that have run."""
    page.evaluate("lab.pause()")
    ask(page, kind="set", settings={})


def number(page, name):
    return page.evaluate("name => lab.number(name)", name)


def array(page, name):
    return np.array(page.evaluate("name => lab.array(name)", name))


@functools.cache
def native_lab():
    spec = importlib.util.spec_from_file_location("npgan_lab", FOLDER / "lab.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def native(*messages):
    """The last answer of lab.py on this machine to these messages."""
    answers = []
    lab = native_lab().Lab(lambda text, frame: answers.append(json.loads(text)))
    for message in messages:
        lab.receive(json.dumps(message))
    return answers[-1]


# --- Loading, and the address -----------------------------------------------------------------


def test_the_page_loads_and_a_link_restores_the_settings(page):
    assert page.is_visible("#lab") and page.is_hidden("#loading") and page.is_hidden("#problem")
    wanted = {"seed": 1, "width": 16, "lr_d": .01, "objective": "kl"}
    assert wanted.items() <= page.evaluate("lab.state.settings").items()
    assert "Pyodide 0.27.7" in page.inner_text("#version")


def test_the_address_follows_the_settings_and_the_settings_follow_the_address(page):
    create(page, data="moons", k=3)
    page.wait_for_function("location.hash === '#data=moons&k=3'")
    page.evaluate("location.hash = '#data=drawn&points=00009999&update=simultaneous'")
    page.wait_for_function("lab.state.settings.data === 'drawn'")
    assert page.evaluate("lab.state.settings.points") == [[-1, -1], [1, 1]]
    assert page.evaluate("lab.state.settings.update") == "simultaneous"
    page.evaluate("location.hash = ''")
    page.wait_for_function("lab.state.settings.data === 'ring'")


def test_the_address_changes_once_after_many_changes_of_a_setting(page):
    """A browser refuses more than about a hundred changes in half a minute."""
    page.evaluate("""async () => {
      const replace = history.replaceState.bind(history);
      lab.addresses = [];
      history.replaceState = (...to) => { lab.addresses.push(to[2]); replace(...to); };
      for (let k = 2; k <= 9; k++) await lab.set({k});
    }""")
    page.wait_for_function("location.hash.includes('k=9')")
    assert len(page.evaluate("lab.addresses")) == 1
    page.evaluate("delete history.replaceState")


def test_a_setting_in_the_address_that_does_not_exist_gives_a_sentence(page):
    page.evaluate("location.hash = '#k=1000'")
    page.wait_for_selector("#problem:visible")
    assert "k = 1000" in page.inner_text("#problem p")
    create(page)
    assert page.is_hidden("#problem")


# --- Training ---------------------------------------------------------------------------------


def test_space_runs_and_pauses_and_v_moves(page):
    create(page)
    page.focus("#plots")
    page.keyboard.press("Space")
    page.wait_for_function("lab.state.view?.iterations > 20")
    assert page.inner_text("#run") == "Pause" and page.get_attribute("#run", "aria-pressed") == "true"
    V = number(page, "V")
    page.wait_for_function("V => lab.number('V') !== V", arg=V)
    page.keyboard.press("Space")
    page.wait_for_function("!lab.state.running")
    before = ask(page, kind="iterate")["iterations"]
    page.keyboard.press("n")
    page.wait_for_function("n => lab.state.view?.iterations === n + 1", arg=before)
    page.keyboard.press("r")
    page.wait_for_function("lab.state.view?.iterations === 0")
    page.wait_for_function("document.querySelector('#numbers').innerText.startsWith('iteration\\n0\\nV\\n–')")


def test_a_key_that_is_held_down_acts_once(page, posted):
    page.focus("#plots")
    page.keyboard.down("n")
    page.keyboard.down("n")         # the browser marks it as a repetition
    page.keyboard.up("n")
    assert posted() == [{"kind": "iterate", "n": 1}]


def test_a_change_that_waits_does_not_reach_networks_that_are_created_later(page):
    answers = page.evaluate("""async () => {
      const changes = [lab.set({k: 2}), lab.set({k: 3})];
      await Promise.all(changes);
      const after = lab.state.settings.k;
      lab.set({k: 4});
      lab.set({k: 5});
      await lab.create({});
      await lab.set({});
      return [after, lab.state.settings.k];
    }""")
    assert answers == [3, 1]


def test_200_iterations_in_the_browser_give_the_native_theta(page):
    """Within rounding: WebAssembly and native NumPy add up products in different orders."""
    settings = {"data": "ring", "lr_d": .001, "lr_g": .001, "momentum": .5}
    create(page, **settings)
    iterate_to(page, 200)
    here, there = ask(page, kind="theta"), native(
        {"kind": "create", "settings": settings}, {"kind": "iterate", "n": 200}, {"kind": "theta"})
    for name in "G", "D":
        begin = native({"kind": "create", "settings": settings}, {"kind": "theta"})[name]
        moved = np.abs(np.subtract(there[name], begin)).max()
        error = np.abs(np.subtract(here[name], there[name])).max()
        assert moved > .05 and error < 1e-3 * moved


def test_every_control_changes_its_setting(page):
    """Choices take the next value, and sliders move by one key."""
    create(page)
    for setting in page.evaluate("lab.state.schema"):
        name, kind = setting["name"], setting["type"]
        if kind == "points":
            continue
        control, before = f"#set-{name}", page.evaluate("lab.state.settings")[name]
        assert page.is_visible(control)
        if kind == "choice":
            choices = setting["choices"]
            value = choices[(choices.index(before) + 1) % len(choices)]
            page.select_option(control, value)
        elif name == "seed":
            value = before + 7
            page.fill(control, str(value))
            page.keyboard.press("Tab")
        else:
            page.focus(control)
            page.keyboard.press("ArrowRight" if before < setting["high"] else "ArrowLeft")
            value = None
        page.wait_for_function("([name, before]) => lab.state.settings[name] !== before", arg=[name, before])
        after = page.evaluate("lab.state.settings")[name]
        assert after == value if value is not None else setting["low"] <= after <= setting["high"]
        assert page.evaluate("name => lab.state.created.settings[name]", name) == after
        assert setting["help"] in page.text_content(f"#help-{name}")
        page.evaluate("settings => lab.set(settings)", {name: before})


def test_settings_without_effect_are_hidden(page):
    create(page, penalty="none", update="simultaneous")
    assert page.is_hidden("#set-weight") and page.is_hidden("#set-k")
    create(page)
    assert page.is_visible("#set-weight") and page.is_visible("#set-k")


def test_the_drawn_distribution_is_learned(page):
    page.select_option("#set-data", "drawn")
    page.wait_for_selector("#pad:visible")
    page.click("#clear")
    box = page.locator("#pad").bounding_box()
    x, y = box["x"] + .5 * box["width"], box["y"] + .25 * box["height"]
    page.mouse.move(x - .25 * box["width"], y)
    page.mouse.down()
    page.mouse.move(x + .25 * box["width"], y, steps=30)
    page.mouse.up()
    page.wait_for_function("lab.state.settings.points.length > 10 && lab.state.settings.points.length < 100")
    points = np.array(page.evaluate("lab.state.settings.points"))
    assert np.ptp(points[:, 1]) < .05 and np.ptp(points[:, 0]) > .8 and .3 < points[0, 1] < .8
    page.wait_for_function("location.hash.startsWith('#data=drawn&points=')")

    def distance():
        samples = array(page, "samples").reshape(-1, 2)
        return np.linalg.norm(samples[:, None] - points, axis=2).min(axis=1).mean()

    first = distance()
    ask(page, kind="iterate", n=300)
    assert distance() < .15 and distance() < first / 2


def test_the_keyboard_draws_too(page):
    page.click("#clear")
    page.evaluate("lab.set({k: 2})")                    # keeps the pad empty
    page.focus("#pad")
    for key in ("Enter", "ArrowLeft", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function("lab.state.settings.points.length === 2")
    np.testing.assert_allclose(page.evaluate("lab.state.settings.points"), [[0, 0], [-.1, 0]], atol=1e-9)


# --- Stepping ---------------------------------------------------------------------------------


SHOWN = "document.querySelector('#code [aria-current]')"
LINE = f"Array.from(document.querySelectorAll('#code div')).indexOf({SHOWN}) + 1"


@pytest.mark.parametrize("settings", [{"k": 2}, {"update": "simultaneous", "penalty": "none"}],
                         ids=["k=2", "simultaneous"])
def test_stepping_shows_the_lines_of_a_native_trace_forward_and_back(page, settings):
    create(page, **settings)
    page.focus("#plots")
    page.keyboard.press("t")
    page.wait_for_selector("#stepping:visible")
    page.wait_for_function("document.querySelector('#event-number').textContent.startsWith('1 of')")
    trace = native({"kind": "create", "settings": settings}, {"kind": "trace"})
    lines = [event["line"] for event in trace["events"]]
    source = (ROOT / "npgan" / "gan.py").read_text(encoding="utf-8").split("\n")
    walk = f"""([button, n]) => Array.from({{length: n}}, () => {{
      const line = [{LINE}, {SHOWN}.textContent];
      document.getElementById(button).click();
      return line;
    }})"""
    forward = page.evaluate(walk, ["forward", len(lines)])
    assert [line for line, _ in forward] == lines
    assert [text for _, text in forward] == [source[line - 1] for line in lines]
    back = page.evaluate(walk, ["back", len(lines)])
    assert [line for line, _ in back] == lines[::-1]

    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(LINE) == lines[2]
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(LINE) == lines[1]
    names = page.locator("#arrays tr:not(:first-child) th").all_inner_texts()
    assert names == [a["name"] for a in trace["events"][1]["arrays"]]
    page.keyboard.press("Escape")
    assert page.is_hidden("#stepping")


def test_stepping_marks_the_sentence_of_algorithm_1(page):
    create(page)
    page.click("#trace")
    page.wait_for_selector("#stepping:visible")
    seen = page.evaluate("""() => {
      const found = [];
      for (let i = 0; i < 200; i++) {
        const sentence = document.querySelector("#algorithm [aria-current]").textContent;
        if (found.at(-1) !== sentence) found.push(sentence);
        document.getElementById("forward").click();
      }
      return found;
    }""")
    steps = ["sample minibatch of m noise samples", "sample minibatch of m examples",
             "compute grad_theta_d V", "update D by ascending it",
             "compute grad_theta_g of G's loss", "update G by descending it"]
    assert [sentence for sentence in seen if sentence in steps] == [*steps[:4], steps[0], *steps[4:]]
    page.click("#close")


# --- Guided experiments -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def experiments(page):
    """{title of an experiment: {title of a step: its actions}}, as guide.js has them."""
    guide = page.evaluate("import('./guide.js').then(guide => guide.EXPERIMENTS)")
    return {e["title"]: {step["title"]: step["actions"] for step in e["steps"]} for e in guide}


@pytest.fixture
def posted(page):
    """A function: the messages that the page has posted since its last call, without "pause".

    In this test each "iterate" trains one iteration only.
    """
    page.evaluate("""() => {
      const post = lab.engine.post.bind(lab.engine);
      lab.posted = [];
      lab.engine.post = message => {
        lab.posted.push(message);
        post(message.kind === "iterate" ? {...message, n: 1} : message);
      };
    }""")

    def messages():
        found = page.evaluate("lab.posted.splice(0).map(({id, ...message}) => message)")
        return [message for message in found if message != {"kind": "run", "on": False}]

    yield messages
    page.evaluate("delete lab.engine.post")
    pause(page)


def message(action):
    """The message that does an action of guide.js in the page."""
    if "create" in action or "set" in action:
        (kind, settings), = action.items()
        return {"kind": kind, "settings": settings}
    if "move" in action:
        return {"kind": "move", "by": action["move"]}
    if "iterate" in action:
        return {"kind": "iterate", "n": action["iterate"]}
    return {"kind": "run", "on": True, "per_frame": action.get("per_frame")}


def click_experiment(page, title):
    page.click(f"#experiments button:text-is('{title}')")


def click_step(page, title):
    page.click(f"#steps button:text-is('{title}')")


def wait_for_step(page, i):
    page.wait_for_function("i => lab.state.at.i === i && lab.state.at.done", arg=i)


def test_every_step_of_every_experiment_does_its_actions(page, experiments, posted):
    for title, steps in experiments.items():
        click_experiment(page, title)
        for i, (step, actions) in enumerate(steps.items()):
            if i > 0:
                click_step(page, step)
            wait_for_step(page, i)
            assert posted() == [message(action) for action in actions]
            assert page.inner_text("#steps button[aria-pressed=true]") == step
            assert len(page.inner_text("#watch")) > 40


@pytest.mark.parametrize("break_off", ["another step", "reset"])
def test_a_step_that_did_not_end_is_done_again_before_the_next_one(page, experiments, posted, break_off):
    a, b, *_ = experiments["Figure 1 of the paper"].values()
    if break_off == "reset":
        click_experiment(page, "Figure 1 of the paper")
        wait_for_step(page, 0)
        page.click("#reset")
        assert page.inner_text("#watch") == "" and page.locator("#steps [aria-pressed=true]").count() == 0
        posted()
        click_step(page, "(b) D alone")
        already = []
    else:
        page.evaluate("""() => {
          document.querySelector("#experiments button").click();
          document.querySelectorAll("#steps button")[1].click();
        }""")
        already = a[:1]
    wait_for_step(page, 1)
    assert posted() == [message(action) for action in [*already, *a, *b]]


class Native:
    """The steps of an experiment, done by lab.py on this machine, which is faster."""

    def __init__(self):
        self.answers, self.messages = [], []
        self.lab = native_lab().Lab(lambda text, frame: self.answers.append(
            (json.loads(text), None if frame is None else frame.copy())))

    def follow(self, actions, iterations=None):
        """Do the actions of a step. Its last one, "run", trains so many iterations instead.

        Returns {name: values} after every 15 of these iterations.
        """
        *first, last = actions
        for action in first:
            self.send(message(action))
        looks = []
        for _ in range(0, iterations or last["run"], 15):
            self.send({"kind": "iterate", "n": 15})
            looks.append(self.look())
        return {name: np.array([look[name] for look in looks]) for name in looks[0]}

    def send(self, message):
        self.answers.clear()
        self.lab.receive(json.dumps(message))
        answer = self.answers[0][0]
        assert answer["kind"] in ("created", "frame")
        if answer["kind"] == "created":
            self.layout = answer["layout"]

    def look(self):
        ends = np.cumsum([math.prod(shape) for _, shape in self.layout])
        return dict(zip((name for name, _ in self.layout), np.split(self.answers[-1][1], ends[:-1])))


def away_from_optimum(page):
    """Mean of |D - D*| over p_data."""
    p = np.array(page.evaluate("lab.state.created.data"))
    return (np.abs(array(page, "D") - array(page, "D_star")) * p).sum() / p.sum()


def test_figure_1_D_alone_comes_to_the_optimal_D_and_then_G_follows_it(page):
    click_experiment(page, "Figure 1 of the paper")
    wait_for_step(page, 0)
    a, jsd = away_from_optimum(page), number(page, "JSD")
    assert jsd > .08
    click_step(page, "(b) D alone")
    wait_for_step(page, 1)
    pause(page)
    iterate_to(page, 253)
    assert away_from_optimum(page) < a / 2 and number(page, "JSD") == jsd
    click_step(page, "(c) G alone")
    wait_for_step(page, 2)
    page.wait_for_function("!lab.state.running")
    assert number(page, "JSD") < .8 * jsd


def test_mode_collapse_without_a_penalty_and_what_r1_does(experiments):
    steps, native = experiments["Mode collapse"], Native()
    assert native.follow(steps["Minimax, no penalty"], 500)["covered"][20:].mean() < 3
    assert native.follow(steps["Switch R1 on"])["covered"][-10:].mean() > 5
    assert Native().follow(steps["R1 from the start"])["covered"][-10:].mean() > 5


def test_the_minimax_gradient_vanishes_and_the_other_does_not(experiments):
    steps = experiments["Vanishing gradients"]
    minimax = Native().follow(steps["Minimax loss"], 30)
    other = Native().follow(steps["Non-saturating loss"], 150)
    assert minimax["D_Gz"].max() < .05 and minimax["norm_g"].max() < 1
    assert other["norm_g"][0] > 100 * minimax["norm_g"][0]
    assert abs(other["samples"][-1].mean()) < 1


def test_training_circles_without_a_penalty_and_rests_with_r1(experiments):
    steps, native = experiments["Circling"], Native()
    assert np.ptp(native.follow(steps["No penalty"], 300)["samples"][4:].mean(axis=1)) > 1
    assert np.ptp(native.follow(steps["Switch R1 on"], 400)["samples"][-10:].mean(axis=1)) < .5


def test_kl_covers_both_modes_and_the_reverse_kl_takes_one(experiments):
    steps = experiments["What a divergence prefers"]
    for title in "KL(p_data, p_g)", "Jensen-Shannon":
        samples = Native().follow(steps[title], 300)["samples"][-1]
        assert samples.std() > 1.6 and abs(samples.mean()) < .8
    samples = Native().follow(steps["KL(p_g, p_data)"], 300)["samples"][-1]
    assert samples.std() < .8 and abs(samples.mean() - 2) < .4


def test_a_clipped_critic_gives_a_small_gradient_and_the_penalty_a_useful_one(experiments):
    steps = experiments["Wasserstein: clipping or penalty"]
    clipped = Native().follow(steps["Clipping, c = 0.03"], 150)
    penalty = Native().follow(steps["Gradient penalty"], 150)
    assert clipped["norm_g"].max() < .01 and penalty["norm_g"].min() > 10 * clipped["norm_g"].max()
    assert clipped["JSD"][-1] > .5 and penalty["JSD"][-1] < .3


def test_nothing_moves_by_itself_if_the_person_wants_reduced_motion(page):
    page.emulate_media(reduced_motion="reduce")
    page.click("#experiments button:has-text('Circling')")
    page.wait_for_function("lab.state.at.experiment.title === 'Circling' && lab.state.at.done")
    assert not page.evaluate("lab.state.running") and "Press Run" in page.inner_text("#status")
    page.emulate_media(reduced_motion="no-preference")


# --- What goes wrong --------------------------------------------------------------------------


def test_a_value_that_is_not_finite_gives_a_sentence_and_reset_goes_on(page):
    create(page, penalty="none", optimizer="momentum", momentum=.9, lr_d=1, lr_g=1, generator_loss="minimax")
    page.click("#run")
    page.wait_for_selector("#problem:visible")
    assert "not finite" in page.inner_text("#problem p") and page.inner_text("#run") == "Run"
    page.click("#problem button")
    page.wait_for_function("lab.state.view?.iterations === 0")
    assert page.is_hidden("#problem")
    create(page)


def test_without_webassembly_the_page_says_so(browser, address):
    page = browser.new_page()
    page.add_init_script("delete window.WebAssembly")
    page.goto(address)
    page.wait_for_selector("#problem:visible")
    assert "WebAssembly" in page.inner_text("#problem p") and page.is_hidden("#loading")
    page.close()


def test_if_pyodide_cannot_be_loaded_the_page_says_so(browser, address):
    page = browser.new_page()
    page.goto(address + "?pyodide=/nowhere/")
    page.wait_for_selector("#problem:visible")
    assert "/nowhere/" in page.inner_text("#problem p") and page.is_hidden("#loading")
    page.close()


# --- How it looks -----------------------------------------------------------------------------


def test_nothing_is_wider_than_a_screen_of_360_pixels(page):
    page.set_viewport_size({"width": 360, "height": 740})
    for settings in {"data": "grid"}, {"data": "gaussian"}, {"data": "drawn"}:
        create(page, **settings)
        page.click("#trace")
        page.wait_for_selector("#stepping:visible")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.click("#close")
    page.set_viewport_size({"width": 1400, "height": 1000})


def test_every_canvas_and_control_has_a_name(page):
    create(page)
    page.wait_for_function("document.querySelector('#heat').ariaLabel.includes('iteration')")
    unnamed = page.evaluate("""() => Array.from(document.querySelectorAll("canvas, button, input, select"))
      .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
      .map(e => e.outerHTML)""")
    assert unnamed == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_has_a_contrast_of_at_least_4_5(mode):
    css = (FOLDER / "lab.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, flags=re.S)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", light if mode == "light" else dark))

    def luminance(name):
        rgb = [int(colours[name][i:i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= .04045 else ((c + .055) / 1.055) ** 2.4 for c in rgb]
        return .2126 * linear[0] + .7152 * linear[1] + .0722 * linear[2]

    pairs = [(text, ground) for text in ("ink", "muted", "accent", "data", "generated", "best")
             for ground in ("paper", "page")]
    for text, ground in [*pairs, ("on-accent", "accent"), ("alarm", "alarm-paper"), ("ink", "mark")]:
        a, b = sorted((luminance(text), luminance(ground)))
        assert (b + .05) / (a + .05) >= 4.5, f"{text} on {ground}"


# --- The end ----------------------------------------------------------------------------------


def test_the_same_page_is_driven_natively(browser):
    command = [sys.executable, str(ROOT / "examples" / "lab.py"), "--native", "--no-browser"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http\S+", program.stdout.readline())[0]
        page = browser.new_page()
        page.goto(url)
        page.wait_for_function("window.lab && lab.state.view")
        page.click("#run")
        page.wait_for_function("lab.state.view?.iterations > 100")
        assert math.isfinite(page.evaluate("lab.state.view.V"))
        assert "Pyodide" not in page.inner_text("#version")
        page.close()
    finally:
        program.terminate()
        program.wait(10)


def test_the_console_of_the_page_has_said_nothing(page, errors):
    assert errors == []
