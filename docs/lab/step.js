// Stepping: gan.py with the line that runs, Algorithm 1's sentence, and the arrays there.
//
// The engine has recorded one iteration. This module only replays the record, so it can go back.

const $ = id => document.getElementById(id);

export class Stepper {
  constructor(source, say) {
    this.say = say;
    this.events = [];
    this.at = 0;
    this.lines = source.split("\n").map(text => {
      const line = document.createElement("div");
      line.textContent = text || " ";
      return line;
    });
    $("code").replaceChildren(...this.lines);
    this.algorithm = algorithm1(source);
    $("algorithm").replaceChildren(...this.algorithm.values());
    $("back").onclick = () => this.move(-1);
    $("forward").onclick = () => this.move(1);
    $("play").onclick = () => this.play(!this.timer);
    $("close").onclick = () => this.close();
    $("event").oninput = () => this.go(+$("event").value);
  }

  get isOpen() {
    return !$("stepping").hidden;
  }

  show(events) {
    this.play(false);
    this.events = events;
    $("event").max = events.length - 1;
    const opening = !this.isOpen;
    $("stepping").hidden = false;
    this.go(0);
    if (opening) {
      $("stepping-heading").focus();
      $("stepping").scrollIntoView({block: "start"});
    }
  }

  close() {
    if (!this.isOpen) return;
    this.play(false);
    $("stepping").hidden = true;
    $("trace").focus();
  }

  move(by) {
    this.play(false);
    this.go(this.at + by);
  }

  play(on) {
    clearInterval(this.timer);
    this.timer = on
      ? setInterval(() => {
          if (this.at + 1 < this.events.length) this.go(this.at + 1);
          else this.play(false);
        }, 600)
      : 0;
    $("play").textContent = on ? "Pause" : "Play";
    $("play").setAttribute("aria-pressed", Boolean(on));
  }

  go(to) {
    this.at = Math.min(Math.max(to, 0), this.events.length - 1);
    const event = this.events[this.at],
      before = this.events[this.at - 1];
    for (const line of this.lines) line.removeAttribute("aria-current");
    const line = this.lines[event.line - 1],
      code = $("code");
    line.setAttribute("aria-current", "step");
    code.scrollTop = line.offsetTop - code.clientHeight / 2;
    $("event").value = this.at;
    $("event").setAttribute(
      "aria-valuetext",
      `${this.at + 1} of ${this.events.length}, line ${event.line}`,
    );
    $("event-number").textContent = `${this.at + 1} of ${this.events.length}`;
    $("back").disabled = this.at === 0;
    $("forward").disabled = this.at === this.events.length - 1;
    // Inside another function, the sentence is that of the call in `train`.
    const call = this.events.slice(0, this.at + 1).findLast(e => this.algorithm.has(e.line));
    for (const sentence of this.algorithm.values()) sentence.removeAttribute("aria-current");
    this.algorithm.get(call?.line)?.setAttribute("aria-current", "step");
    $("sentence").textContent =
      `Line ${event.line}. ${this.algorithm.get(call?.line)?.textContent ?? ""}`;
    $("arrays-note").textContent =
      `In ${event.function}, before line ${event.line} runs. Bold: new or changed.`;
    const old = new Map((before?.arrays ?? []).map(a => [a.name, `${a.mean} ${a.rms}`]));
    $("arrays").replaceChildren(
      head(),
      ...event.arrays.map(a => row(a, this.at > 0 && old.get(a.name) !== `${a.mean} ${a.rms}`)),
    );
  }
}

// Algorithm 1, from the comments beside the lines of `train`: line number -> its element.
function algorithm1(source) {
  const found = new Map();
  let inside = false;
  source.split("\n").forEach((text, i) => {
    if (text.startsWith("def ")) inside = text.startsWith("def train(");
    const [, spaces, sentence] = (inside && text.match(/# ( *)(\S.*)$/)) || [];
    if (!sentence) return;
    const line = document.createElement("div");
    line.textContent = sentence;
    line.style.paddingLeft = `${10 + 9 * spaces.length}px`;
    found.set(i + 1, line);
  });
  return found;
}

function head() {
  const row = document.createElement("tr");
  for (const name of ["name", "shape", "mean", "rms", "histogram"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    row.append(cell);
  }
  return row;
}

function row(array, changed) {
  const tr = document.createElement("tr");
  tr.classList.toggle("changed", changed);
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = array.name;
  tr.append(name);
  const number = v => {
    if (v === null) return "not finite";
    return (Math.abs(v) >= 1e-3 || v === 0 ? v.toPrecision(3) : v.toExponential(1)).replace("-", "−");
  };
  for (const text of [array.shape.join(" × ") || "number", number(array.mean), number(array.rms)]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    tr.append(cell);
  }
  const cell = document.createElement("td");
  cell.append(histogram(array, number));
  tr.append(cell);
  return tr;
}

function histogram({picture, low, high}, number) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 64 18");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `from ${number(low)} to ${number(high)}`);
  const most = Math.max(...picture, 1);
  picture.forEach((count, i) => {
    const bar = document.createElementNS(svg.namespaceURI, "rect"),
      height = (17 * count) / most;
    for (const [name, value] of Object.entries({x: 4 * i, y: 18 - height, width: 3.4, height}))
      bar.setAttribute(name, value);
    svg.append(bar);
  });
  const title = document.createElementNS(svg.namespaceURI, "title");
  title.textContent = `from ${number(low)} to ${number(high)}`;
  svg.append(title);
  return svg;
}
