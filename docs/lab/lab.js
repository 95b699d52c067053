// The page: it asks the engine (lab.py) to train, draws its frames, and keeps the settings.
//
// Read engine.js first (the messages), then this module; draw.js draws, guide.js has the
// experiments, step.js shows gan.py line by line.

import {
  drawChart,
  drawHeat,
  drawLine,
  drawManifold,
  drawPad,
  History,
  pointAt,
  readColours,
  short,
} from "./draw.js";
import {NativeEngine, WorkerEngine} from "./engine.js";
import {EXPERIMENTS} from "./guide.js";
import {Stepper} from "./step.js";

const PYODIDE = "https://cdn.jsdelivr.net/pyodide/v0.27.7/full/";
const LOG4 = -Math.log(4),
  POINTS = 400;
const $ = id => document.getElementById(id);
const query = new URLSearchParams(location.search),
  native = query.has("native");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// What the page knows: the engine's last answers, and what the person does.
const state = {
  schema: [],
  settings: {},
  created: null,
  view: null,
  history: new History(),
  running: false,
  until: Infinity,
  drawing: [],
  cross: null,
  frames: 0,
  changed: false,
};
let engine, stepper;

// --- Start -----------------------------------------------------------------------------------

function start() {
  readColours();
  matchMedia("(prefers-color-scheme: dark)").onchange = () => {
    readColours();
    state.changed = true;
  };
  if (native) {
    $("where").textContent = "on this machine, outside the browser";
    engine = new NativeEngine(receive);
  } else if (location.protocol === "file:") {
    return problem(
      "A browser starts no worker for a file. Run python examples/lab.py: it serves this page.",
    );
  } else if (typeof WebAssembly !== "object") {
    return problem(
      "This browser has no WebAssembly, so it cannot run Python. Use a current Firefox, Chrome, Edge "
        + "or Safari, or run python examples/lab.py --native.",
    );
  } else {
    const folder = url => new URL(url.endsWith("/") ? url : url + "/", location.href).href;
    engine = new WorkerEngine(receive, folder(query.get("pyodide") ?? PYODIDE), folder("../../"));
  }
  window.lab = {engine, state, create, set, pause};
  requestAnimationFrame(draw);
}

function receive(message) {
  (({loading, ready, created, frame, stopped, error, trace: frame})[message.kind] ?? (() => {}))(
    message,
  );
}

function loading({stage, done, of}) {
  $("stage").textContent = stage;
  $("progress").max = of;
  $("progress").value = done;
}

async function ready({schema, sources, version}) {
  state.schema = schema;
  stepper = new Stepper(sources["npgan/gan.py"], say);
  $("version").textContent =
    `Python ${version.python}, NumPy ${version.numpy}`
    + (version.pyodide ? `, Pyodide ${version.pyodide}` : "")
    + (version.device ? `, ${version.device}` : "")
    + ".";
  makeControls();
  makeExperiments();
  $("loading").hidden = true;
  $("lab").hidden = false;
  window.onhashchange = () => {
    leave();
    create(fromAddress());
  };
  const answer = await create(fromAddress());
  if (answer.kind !== "created") await engine.ask({kind: "create", settings: {}}); // the sentence stays
  say("Ready. Choose an experiment, or press Run.");
}

// --- What the engine says --------------------------------------------------------------------

function created(message) {
  const {settings, layout, dimension, rebuilt} = message;
  const was = state.created;
  state.created = message;
  state.settings = settings;
  if (rebuilt || !was) {
    state.history = new History();
    state.view = null;
  }
  if (
    !was
    || ["dimension", "modes", "optimum"].some(name => was[name] !== message[name])
    || was.settings.objective !== settings.objective
  )
    makeCharts();
  let at = 0;
  state.places = layout.map(([name, shape]) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return {name, shape, from: at, to: (at += size)};
  });
  $("plane").hidden = dimension !== 2;
  $("line").hidden = dimension !== 1;
  $("D-name").textContent = message.probability ? "D(x)" : "critic, scaled to";
  $("D-line").textContent = message.probability ? "D" : "critic, scaled";
  $("D-star").hidden = !message.probability;
  const drawn = settings.data === "drawn";
  $("pad").hidden = $("pad-tools").hidden = !drawn;
  if (drawn && (rebuilt || was?.settings.data !== "drawn")) state.drawing = settings.points;
  showControls();
  clearTimeout(toAddress.timer); // a browser limits how often a page may change its address
  toAddress.timer = setTimeout(toAddress, 200);
  state.changed = true;
}

function frame({iterations, frame}) {
  const view = {iterations};
  for (const {name, shape, from, to} of state.places) {
    const values = frame.subarray(from, to);
    view[name] = values.length === 1 && shape.every(n => n === 1) ? values[0] : values;
  }
  state.view = view;
  state.frames++;
  state.history.add({
    iteration: iterations,
    ...Object.fromEntries(Object.entries(view).filter(([, value]) => typeof value === "number")),
  });
  state.changed = true;
  if (state.running && iterations >= state.until) {
    pause();
    say("This step has ended. Press Run to train further.");
  }
}

function stopped({sentence}) {
  running(false);
  problem(sentence, "Reset", reset);
}

function error({sentence}) {
  running(false);
  if (state.schema.length)
    problem(sentence, "Close", () => {
      $("problem").hidden = true;
    });
  else problem(sentence);
}

// One sentence that says what is wrong, and a button that goes on.
function problem(sentence, label = "Load the page again", action = () => location.reload()) {
  $("problem").hidden = false;
  $("problem").firstElementChild.textContent = sentence;
  $("problem").lastElementChild.textContent = label;
  $("problem").lastElementChild.onclick = action;
  if (!state.schema.length) $("loading").hidden = true;
}

function say(sentence) {
  $("status").textContent = sentence;
}

// --- What the person asks --------------------------------------------------------------------

let asked = null, // changes that wait for the engine's answer to the change before
  sending = null;

async function create(settings) {
  $("problem").hidden = true;
  asked = null;
  return engine.ask({kind: "create", settings});
}

// Change settings. While the engine answers, later changes wait and go together. The promise
// ends when the engine has answered all of them.
function set(settings) {
  asked = {...asked, ...settings};
  return (sending ??= send());
}

async function send() {
  while (asked) {
    const now = asked;
    asked = null;
    const answer = await engine.ask({kind: "set", settings: now});
    if (answer.kind !== "created") showControls();
    else if (answer.rebuilt) {
      leave();
      say("New networks: training starts at iteration 0.");
    }
  }
  sending = null;
}

function reset() {
  leave();
  state.until = Infinity;
  create(state.settings);
  if (state.running) run();
  say("Reset: new networks, iteration 0.");
}

function run(iterations = Infinity) {
  $("problem").hidden = true;
  state.until = (state.view?.iterations ?? 0) + iterations;
  running(true);
  engine.post({kind: "run", on: true, per_frame: Number($("speed").value) || null});
}

function pause() {
  running(false);
  engine.post({kind: "run", on: false});
}

function running(on) {
  state.running = on;
  $("run").textContent = on ? "Pause" : "Run";
  $("run").setAttribute("aria-pressed", on);
  if (!on) {
    $("rate").textContent = "";
    state.changed = true;
  }
  rate.since = 0;
}

async function once() {
  pause();
  await engine.ask({kind: "iterate", n: 1});
}

async function traced() {
  pause();
  const answer = await engine.ask({kind: "trace"});
  if (answer.kind === "trace") stepper.show(answer.events);
}

// --- Guided experiments ----------------------------------------------------------------------

function button(text, action) {
  const b = document.createElement("button");
  b.type = "button";
  b.textContent = text;
  b.setAttribute("aria-pressed", "false");
  b.onclick = () => {
    for (const other of b.parentElement.children) other.setAttribute("aria-pressed", other === b);
    action();
  };
  return b;
}

function makeExperiments() {
  $("experiments").replaceChildren(...EXPERIMENTS.map(e => button(e.title, () => begin(e))));
}

function begin(experiment) {
  $("experiment").hidden = false;
  $("question").textContent = experiment.question;
  $("steps").replaceChildren(
    ...experiment.steps.map((step, i) => button(step.title, () => follow(experiment, i))),
  );
  $("steps").firstElementChild.click();
}

let turn = 0; // counts the steps begun; an older one gives up

// New networks that no step has asked for: a step that has begun gives up, and none is shown.
function leave() {
  turn++;
  state.at = null;
  $("watch").textContent = "";
  for (const b of $("steps").children) b.setAttribute("aria-pressed", "false");
}

// Do the actions of step i. A chained step goes on from the one before, which is done first if
// the person has not done it.
async function follow(experiment, i) {
  const mine = ++turn,
    {at} = state;
  pause();
  say("");
  $("watch").textContent = experiment.steps[i].watch;
  state.at = {experiment, i, done: false};
  if (experiment.chained && i > 0 && !(at?.experiment === experiment && at.i === i - 1 && at.done)) {
    say("The steps before this one run first, without pictures.");
    for (const action of experiment.steps.slice(0, i).flatMap(step => step.actions)) {
      if (mine === turn) await act("run" in action ? {iterate: action.run} : action);
    }
    if (mine === turn) say("");
  }
  for (const action of experiment.steps[i].actions) if (mine === turn) await act(action);
  if (mine === turn) state.at.done = true;
}

async function act(action) {
  if ("create" in action) await create(action.create);
  if ("set" in action) await set(action.set);
  if ("move" in action) await engine.ask({kind: "move", by: action.move});
  if ("iterate" in action) await engine.ask({kind: "iterate", n: action.iterate});
  if ("run" in action) {
    if (calm.matches) say("Nothing moves by itself, as your system asks. Press Run or One iteration.");
    else {
      $("speed").value = action.per_frame ?? "";
      run(action.run);
    }
  }
}

// --- Controls, from the engine's schema -----------------------------------------------------

function makeControls() {
  const sets = new Map();
  for (const item of state.schema) {
    $("meaning").lastElementChild.append(
      term("dt", item.label),
      term("dd", item.help, `help-${item.name}`),
    );
    if (item.type === "points") continue;
    if (!sets.has(item.group)) {
      const set = document.createElement("fieldset");
      set.append(term("legend", item.group));
      sets.set(item.group, set);
    }
    sets.get(item.group).append(control(item));
  }
  $("controls").replaceChildren(...sets.values());
}

function term(tag, text, id) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (id) element.id = id;
  return element;
}

function control(item) {
  const label = document.createElement("label"),
    {name, type} = item;
  label.id = `row-${name}`;
  label.title = item.help;
  const input = document.createElement(type === "choice" ? "select" : "input");
  input.id = `set-${name}`;
  input.setAttribute("aria-describedby", `help-${name}`);
  label.append(term("span", item.label), input);
  if (type === "choice") {
    for (const choice of item.choices) {
      const [value, text] = Array.isArray(choice) ? choice : [choice, choice];
      input.add(new Option(text, value));
    }
  } else if (type === "bool") {
    input.type = "checkbox";
  } else if (name === "seed") {
    Object.assign(input, {type: "number", min: item.low, max: item.high, step: 1});
  } else {
    const log = type === "log";
    Object.assign(input, {
      type: "range",
      min: log ? Math.log10(item.low) : item.low,
      max: log ? Math.log10(item.high) : item.high,
      step: log ? "any" : (item.step ?? 1),
    });
    label.append(document.createElement("output"));
  }
  const changed = () => {
    showValue(item, read(item));
    set({[name]: read(item)});
  };
  if (item.rebuilds || (type !== "number" && type !== "log" && type !== "int"))
    input.onchange = changed;
  else input.oninput = changed;
  if (item.rebuilds && input.type === "range") input.oninput = () => showValue(item, read(item));
  return label;
}

// The value of a control, as the engine takes it.
function read({name, type, choices}) {
  const input = $(`set-${name}`);
  if (type === "bool") return input.checked;
  if (type === "choice")
    return choices.flat().find(value => String(value) === input.value) ?? input.value;
  if (type === "log") return +(10 ** +input.value).toPrecision(2);
  return type === "int" ? Math.round(+input.value) : +input.value;
}

function showValue({name, type}, value) {
  const input = $(`set-${name}`),
    output = input.nextElementSibling;
  if (output) output.textContent = short(value);
  if (input.type === "range") input.setAttribute("aria-valuetext", short(value));
}

function showControls() {
  for (const item of state.schema) {
    const {name, type, only} = item,
      input = $(`set-${name}`),
      value = state.settings[name];
    if (!input) continue;
    if (type === "bool") input.checked = value;
    else if (document.activeElement !== input || type === "choice") {
      input.value = type === "log" ? Math.log10(value) : value;
    }
    showValue(item, value);
    const used = Object.entries(only ?? {}).every(([other, values]) =>
      values.includes(state.settings[other]),
    );
    $(`row-${name}`).hidden = !used;
  }
}

// --- The address keeps the settings that are not the default --------------------------------

function toAddress() {
  const hash = new URLSearchParams();
  for (const {name, type, default: usual} of state.schema) {
    const value = state.settings[name];
    if (type === "points") {
      if (state.settings.data === "drawn" && value?.length) hash.set(name, encode(value));
    } else if (value !== usual && value !== undefined) hash.set(name, value);
  }
  history.replaceState(null, "", `${location.pathname}${location.search}#${hash}`);
}

function fromAddress() {
  const settings = {};
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    const item = state.schema.find(item => item.name === name);
    if (!item) continue;
    if (item.type === "points") settings[name] = decode(text);
    else if (item.type === "bool") settings[name] = text === "true";
    else if (item.type === "choice") {
      settings[name] = item.choices.flat().find(value => String(value) === text) ?? text;
    } else settings[name] = Number(text);
  }
  return settings;
}

// Points of -1..1 as four digits each: 0099 is (-1, 0.98).
function encode(points) {
  return points
    .flat()
    .map(v => String(Math.round(((v + 1) / 2) * 99)).padStart(2, "0"))
    .join("");
}

function decode(text) {
  const values = (text.match(/\d\d/g) ?? []).map(pair => (pair / 99) * 2 - 1);
  return Array.from({length: values.length >> 1}, (_, i) => [values[2 * i], values[2 * i + 1]]);
}

// --- Drawing a distribution -----------------------------------------------------------------

function addPoint([x, y]) {
  const clip = v => Math.min(Math.max(v, -1), 1),
    point = [clip(x), clip(y)],
    last = state.drawing.at(-1);
  if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < 0.03) return;
  if (state.drawing.length >= POINTS)
    return say(`A drawing has at most ${POINTS} points. Clear it to start again.`);
  state.drawing = [...state.drawing, point];
  state.changed = true;
}

function learnDrawing() {
  if (!state.drawing.length) return;
  set({data: "drawn", points: state.drawing});
  say(`G and D now learn your drawing of ${state.drawing.length} points. Press Run.`);
}

function makePad() {
  const pad = $("pad");
  let down = false;
  pad.onpointerdown = event => {
    pad.setPointerCapture(event.pointerId);
    down = true;
    state.cross = null;
    addPoint(pointAt(pad, event, state.created.extent));
  };
  pad.onpointermove = event => {
    if (down)
      for (const e of event.getCoalescedEvents?.() ?? [event])
        addPoint(pointAt(pad, e, state.created.extent));
  };
  pad.onpointerup = pad.onpointercancel = () => {
    if (down) learnDrawing();
    down = false;
  };
  pad.onkeydown = event => {
    const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1]}[
      event.key
    ];
    if (!moves && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    state.cross ??= [0, 0];
    if (moves) state.cross = state.cross.map((v, i) => Math.min(Math.max(v + 0.05 * moves[i], -1), 1));
    else {
      addPoint(state.cross);
      learnDrawing();
    }
    state.changed = true;
  };
  pad.onblur = () => {
    state.cross = null;
    state.changed = true;
  };
  $("clear").onclick = () => {
    state.drawing = [];
    state.changed = true;
    say("The drawing is empty. G and D keep the last one until you draw again.");
  };
}

// --- Pictures and numbers --------------------------------------------------------------------

function makeCharts() {
  const {dimension, modes, optimum, probability, settings} = state.created,
    line = dimension === 1;
  const known = line && settings.objective === "gan"; // V(G, D*) is given for equation 1
  const near = Math.abs(optimum - LOG4) < 1e-6 ? "−log 4" : `${short(optimum)}, the optimum`;
  const charts = [
    {
      title: "V",
      key: [["V", "ink"], ...(known ? [["V(G, D*)", "best"]] : []), [near, "muted", "dotted"]],
      series: [{name: "V", colour: "ink"}, ...(known ? [{name: "V_optimal", colour: "best"}] : [])],
      constants: [{value: optimum, colour: "muted"}],
    },
    {
      title: "D",
      key: [
        [probability ? "D(x)" : "sigmoid of D(x)", "data"],
        [probability ? "D(G(z))" : "of D(G(z))", "generated"],
        ["1/2", "muted", "dotted"],
      ],
      range: [0, 1],
      series: [
        {name: "D_x", colour: "data"},
        {name: "D_Gz", colour: "generated"},
      ],
      constants: [{value: 0.5, colour: "muted"}],
    },
    {
      title: "Gradient norms",
      key: [
        ["|gradient| of D", "ink"],
        ["of G", "generated"],
      ],
      log: true,
      series: [
        {name: "norm_d", colour: "ink"},
        {name: "norm_g", colour: "generated"},
      ],
    },
  ];
  if (line) {
    charts.push({
      title: "JSD",
      key: [
        ["JSD(p_data, p_g)", "best"],
        ["log 2", "muted", "dotted"],
      ],
      series: [{name: "JSD", colour: "best"}],
      constants: [{value: Math.log(2), colour: "muted"}],
      range: [0, 0.72],
    });
  } else if (modes) {
    charts.push({
      title: "Modes",
      key: [[`modes covered, of ${modes}`, "generated"]],
      range: [0, modes * 1.04],
      series: [{name: "covered", colour: "generated"}],
      constants: [{value: modes, colour: "muted"}],
    });
  }
  state.charts = charts.map(chart => {
    const figure = document.createElement("figure"),
      caption = document.createElement("figcaption");
    chart.canvas = document.createElement("canvas");
    chart.canvas.setAttribute("role", "img");
    chart.canvas.setAttribute("aria-label", `${chart.title} against the iteration`);
    for (const [text, colour, dash = ""] of chart.key) {
      const entry = document.createElement("span"),
        mark = document.createElement("i");
      mark.className = `stroke ${colour} ${dash}`;
      entry.append(mark, text);
      caption.append(entry);
    }
    figure.append(caption, chart.canvas);
    return {...chart, figure};
  });
  $("charts").replaceChildren(...state.charts.map(chart => chart.figure));
}

function draw(now) {
  requestAnimationFrame(draw);
  if (!state.changed || !state.created || (calm.matches && state.running && now - draw.last < 1000))
    return;
  draw.last = now;
  state.changed = false;
  const {view, created} = state;
  if (created.dimension === 2 && !$("pad").hidden)
    drawPad($("pad"), state.drawing, state.cross, created.extent);
  if (!view) return;
  if (created.dimension === 2) {
    drawHeat($("heat"), view, created);
    drawManifold($("manifold"), view, created);
  } else {
    drawLine($("densities"), view, created);
  }
  if (state.running && now - draw.slow < 150) return; // charts and numbers need not follow each frame
  draw.slow = now;
  for (const chart of state.charts) drawChart(chart.canvas, state.history, chart);
  numbers(view, created);
  rate(now);
}
draw.slow = 0;
draw.last = 0;

function numbers(view, {modes}) {
  const rows = [
    ["iteration", view.iterations.toLocaleString("en")],
    ["V", fixed(view.V)],
  ];
  if (Number.isFinite(view.V_optimal)) rows.push(["V(G, D*)", fixed(view.V_optimal)]);
  if ("JSD" in view) rows.push(["JSD", fixed(view.JSD)]);
  rows.push(
    ["mean D(x)", fixed(view.D_x)],
    ["mean D(G(z))", fixed(view.D_Gz)],
    ["|gradient of D|", short(view.norm_d)],
    ["|gradient of G|", short(view.norm_g)],
  );
  if (modes) {
    rows.push(
      ["modes covered", `${view.covered} of ${modes}`],
      ["good samples", `${Math.round(100 * view.good)} %`],
    );
  }
  const text = rows.map(row => row.join(" ")).join(", ");
  if (numbers.names !== rows.map(row => row[0]).join()) {
    numbers.names = rows.map(row => row[0]).join();
    $("numbers").replaceChildren(
      ...rows.map(([name]) => {
        const group = document.createElement("div");
        group.append(term("dt", name), term("dd", ""));
        return group;
      }),
    );
  }
  rows.forEach(([, value], i) => {
    $("numbers").children[i].lastElementChild.textContent = value;
  });
  if (!state.running) {
    $("heat").setAttribute("aria-label", `D's heat map, the data, and samples of G. ${text}.`);
    $("manifold").setAttribute("aria-label", `G's image of a grid of z, over the data. ${text}.`);
    $("densities").setAttribute(
      "aria-label",
      `The densities p_data and p_g, D and D* on a line. ${text}.`,
    );
  }
}

function fixed(value) {
  if (!Number.isFinite(value)) return "–"; // before the first iteration
  return value.toFixed(3).replace(/^-(?=0\.000)/, "").replace("-", "−");
}

// Iterations and frames in a second, over the last second.
function rate(now) {
  if (!state.running) return;
  if (!rate.since)
    Object.assign(rate, {since: now, frames: state.frames, iterations: state.view.iterations});
  const seconds = (now - rate.since) / 1000;
  if (seconds < 1) return;
  const per = count => Math.round(count / seconds);
  $("rate").textContent =
    `${per(state.view.iterations - rate.iterations)} iterations/s, ${per(state.frames - rate.frames)} frames/s`;
  rate.since = 0;
}

// --- Keys and buttons -----------------------------------------------------------------------

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("lab").hidden) return;
  const {target, key} = event,
    typing = target.matches("input, select, textarea");
  if (key === "Escape") return stepper.close();
  if (typing || (key === " " && target.matches("button, summary, a"))) return;
  const action = {
    " ": () => $("run").click(),
    n: once,
    r: reset,
    t: traced,
    ArrowLeft: stepper.isOpen && (() => stepper.move(-1)),
    ArrowRight: stepper.isOpen && (() => stepper.move(1)),
  }[key];
  if (!action) return;
  event.preventDefault();
  if (!event.repeat || key.startsWith("Arrow")) action(); // a key held down must not fill the queue
});
$("run").onclick = () => {
  say(state.running ? "Paused." : "");
  if (state.running) pause();
  else run();
};
$("once").onclick = once;
$("reset").onclick = reset;
$("trace").onclick = $("again").onclick = traced;
$("speed").onchange = () => {
  if (state.running) run(state.until - (state.view?.iterations ?? 0));
};
$("controls").onsubmit = event => event.preventDefault();
new ResizeObserver(() => {
  state.changed = true;
}).observe(document.body);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden || !state.running) return;
  pause();
  say("Paused, because the page was hidden.");
});
makePad();
start();
