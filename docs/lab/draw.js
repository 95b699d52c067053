// The plots, on plain canvases. Every function draws one picture from what it is given.
//
// Blue is the data, and where D says "real". Orange is what G makes, and where D says
// "generated". lab.css defines the colours, for light and for dark mode.

let colours;

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "ink", "muted", "rule", "data", "generated", "best"];
  colours = Object.fromEntries(names.map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
  colours.rgb = Object.fromEntries(names.map(name => [name, rgb(colours[name])]));
}

function rgb(hex) {
  return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
}

// Fit a canvas to its size on the page. Returns its context, in CSS pixels, and this size.
function fit(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2),
    {clientWidth: width, clientHeight: height} = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = "11px system-ui, sans-serif";
  c.lineJoin = "round";
  return [c, width, height];
}

// About n round numbers between low and high.
function ticks(low, high, n) {
  const rough = (high - low) / n,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(s => s >= rough);
  const all = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) all.push(i * step);
  return all;
}

export function short(value) {
  if (!Number.isFinite(value)) return "–"; // before the first iteration
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5))
    return value.toExponential(1).replace(".0", "").replace("-", "−");
  return String(+value.toPrecision(size < 1 ? 2 : 3)).replace("-", "−");
}

// --- In the plane ----------------------------------------------------------------------------

const LEFT = 30,
  BELOW = 22,
  EDGE = 6;

// Axes of a square plot. Returns the functions X, Y from units of x to pixels, and the sides.
function plane(c, width, height, [low, high]) {
  const side = Math.min(width - LEFT, height - BELOW) - EDGE;
  const X = x => LEFT + ((x - low) / (high - low)) * side,
    Y = y => EDGE + ((high - y) / (high - low)) * side;
  return {X, Y, side, low, high, unit: side / (high - low)};
}

function planeAxes(c, {X, Y, side, low, high}) {
  c.strokeStyle = colours.rule;
  c.strokeRect(LEFT, EDGE, side, side);
  c.fillStyle = colours.muted;
  for (const t of ticks(low, high, 4)) {
    c.textAlign = "center";
    c.textBaseline = "top";
    c.fillText(short(t), X(t), EDGE + side + 6);
    c.textAlign = "right";
    c.textBaseline = "middle";
    c.fillText(short(t), LEFT - 5, Y(t));
    c.beginPath();
    c.moveTo(X(t), EDGE + side);
    c.lineTo(X(t), EDGE + side + 3);
    c.moveTo(LEFT, Y(t));
    c.lineTo(LEFT - 3, Y(t));
    c.stroke();
  }
}

// The point (x, y) in units of x where a pointer is on a square plot.
export function pointAt(canvas, event, [low, high]) {
  const box = canvas.getBoundingClientRect();
  const {side} = plane(null, box.width, box.height, [low, high]);
  return [
    low + ((event.clientX - box.left - LEFT) / side) * (high - low),
    high - ((event.clientY - box.top - EDGE) / side) * (high - low),
  ];
}

// n points, with a thin edge of the paper's colour, which keeps them visible on every colour of D.
function dots(c, points, n, {X, Y}, size, colour) {
  for (const [side, fill] of [
    [size + 1.2, colours.paper],
    [size, colour],
  ]) {
    c.fillStyle = fill;
    for (let i = 0; i < n; i++)
      c.fillRect(X(points[2 * i]) - side / 2, Y(points[2 * i + 1]) - side / 2, side, side);
  }
}

const small = document.createElement("canvas");

// D as an image: orange at 0, the paper at 1/2, blue at 1.
function heatMap(c, D, {side}) {
  const cells = Math.round(Math.sqrt(D.length)),
    image = new ImageData(cells, cells);
  small.width = small.height = cells;
  const {paper, data, generated} = colours.rgb;
  for (let i = 0; i < cells; i++) {
    for (let j = 0; j < cells; j++) {
      const d = 2 * Math.min(Math.max(D[i * cells + j], 0), 1) - 1,
        end = d > 0 ? data : generated;
      const at = 4 * ((cells - 1 - i) * cells + j),
        weight = 0.75 * Math.abs(d);
      for (let k = 0; k < 3; k++) image.data[at + k] = paper[k] + weight * (end[k] - paper[k]);
      image.data[at + 3] = 255;
    }
  }
  small.getContext("2d").putImageData(image, 0, 0);
  c.imageSmoothingQuality = "high";
  c.drawImage(small, LEFT, EDGE, side, side);
}

export function drawHeat(canvas, view, {data, extent}) {
  const [c, width, height] = fit(canvas),
    axes = plane(c, width, height, extent);
  heatMap(c, view.D, axes);
  c.save();
  c.beginPath();
  c.rect(LEFT, EDGE, axes.side, axes.side);
  c.clip();
  dots(c, data, Math.min(data.length / 2, 600), axes, 2.2, colours.data);
  dots(c, view.samples, view.samples.length / 2, axes, 3.6, colours.generated);
  arrows(c, view.arrows_from, view.arrows, axes);
  c.restore();
  planeAxes(c, axes);
  const beyond = view.samples.reduce(
    (n, v, i) => n + (i % 2 && (outside(v) || outside(view.samples[i - 1]))),
    0,
  );
  function outside(v) {
    return v < extent[0] || v > extent[1];
  }
  if (beyond) {
    c.fillStyle = colours.ink;
    c.textAlign = "right";
    c.textBaseline = "bottom";
    c.fillText(
      `${beyond} of ${view.samples.length / 2} samples are outside`,
      LEFT + axes.side - 6,
      EDGE + axes.side - 5,
    );
  }
}

// The arrows' lengths are proportional to the gradient. Large ones are cut, so that the figure
// stays readable, and `scale` keeps its meaning from frame to frame.
function arrows(c, from, along, {X, Y, unit, side}) {
  const scale = 0.05 * (side / unit) ** 2,
    longest = 0.08 * side;
  c.strokeStyle = colours.ink;
  c.lineWidth = 1.1;
  c.beginPath();
  for (let i = 0; i < from.length / 2; i++) {
    let dx = along[2 * i] * scale * unit,
      dy = -along[2 * i + 1] * scale * unit;
    const length = Math.hypot(dx, dy);
    if (!(length > 1)) continue;
    const cut = Math.min(1, longest / length);
    arrow(c, X(from[2 * i]), Y(from[2 * i + 1]), dx * cut, dy * cut, 4);
  }
  c.stroke();
  c.lineWidth = 1;
}

function arrow(c, x, y, dx, dy, head) {
  const angle = Math.atan2(dy, dx),
    [a, b] = [x + dx, y + dy];
  c.moveTo(x, y);
  c.lineTo(a, b);
  c.moveTo(a - head * Math.cos(angle - 0.45), b - head * Math.sin(angle - 0.45));
  c.lineTo(a, b);
  c.lineTo(a - head * Math.cos(angle + 0.45), b - head * Math.sin(angle + 0.45));
}

// G of a grid of z. A cell is darker where more probability falls on less area.
export function drawManifold(canvas, view, {data, extent}) {
  const [c, width, height] = fit(canvas),
    axes = plane(c, width, height, extent),
    {X, Y, side} = axes;
  const grid = view.grid,
    n = Math.round(Math.sqrt(grid.length / 2));
  const x = k => X(grid[2 * k]),
    y = k => Y(grid[2 * k + 1]);
  c.save();
  c.beginPath();
  c.rect(LEFT, EDGE, side, side);
  c.clip();
  dots(c, data, Math.min(data.length / 2, 600), axes, 2.2, colours.data);
  c.fillStyle = colours.generated;
  const even = (side / (n - 1)) ** 2; // the area of a cell if G spread evenly
  for (let i = 0; i < n - 1; i++) {
    for (let j = 0; j < n - 1; j++) {
      const [p, q, r, s] = [i * n + j, i * n + j + 1, (i + 1) * n + j + 1, (i + 1) * n + j];
      const area = Math.abs((x(r) - x(p)) * (y(s) - y(q)) - (x(s) - x(q)) * (y(r) - y(p))) / 2;
      c.globalAlpha = Math.min(0.65, (0.07 * even) / Math.max(area, 1));
      c.beginPath();
      c.moveTo(x(p), y(p));
      c.lineTo(x(q), y(q));
      c.lineTo(x(r), y(r));
      c.lineTo(x(s), y(s));
      c.fill();
    }
  }
  c.globalAlpha = 1;
  c.strokeStyle = colours.generated;
  c.lineWidth = 0.7;
  mesh(c, n, (i, j) => [x(i * n + j), y(i * n + j)]);
  c.restore();
  const inset = Math.min(58, side / 5),
    corner = [LEFT + side - inset - 8, EDGE + 8];
  c.fillStyle = colours.paper;
  c.fillRect(corner[0] - 4, corner[1] - 4, inset + 8, inset + 18);
  c.strokeStyle = colours.muted;
  mesh(c, n, (i, j) => [corner[0] + (inset * j) / (n - 1), corner[1] + (inset * i) / (n - 1)]);
  c.lineWidth = 1;
  c.fillStyle = colours.muted;
  c.textAlign = "center";
  c.textBaseline = "top";
  c.fillText("z", corner[0] + inset / 2, corner[1] + inset + 1);
  planeAxes(c, axes);
}

function mesh(c, n, place) {
  c.beginPath();
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) c[j ? "lineTo" : "moveTo"](...place(i, j));
    for (let j = 0; j < n; j++) c[j ? "lineTo" : "moveTo"](...place(j, i));
  }
  c.stroke();
}

// The pad: the points drawn so far, and a cross for the keyboard.
export function drawPad(canvas, points, cross, extent) {
  const [c, width, height] = fit(canvas),
    axes = plane(c, width, height, extent),
    {X, Y} = axes;
  dots(c, points.flat(), points.length, axes, 5, colours.data);
  if (!cross) return;
  c.strokeStyle = colours.ink;
  c.beginPath();
  c.moveTo(X(cross[0]) - 8, Y(cross[1]));
  c.lineTo(X(cross[0]) + 8, Y(cross[1]));
  c.moveTo(X(cross[0]), Y(cross[1]) - 8);
  c.lineTo(X(cross[0]), Y(cross[1]) + 8);
  c.stroke();
}

// --- On a line: Figure 1 of the paper --------------------------------------------------------

export function drawLine(canvas, view, {data: p_data, extent, fixed, probability}) {
  const [c, width, height] = fit(canvas),
    [low, high] = extent,
    {x, z} = fixed;
  const left = 34,
    right = width - 34,
    plot = 0.68 * height,
    xLevel = 0.77 * height,
    zLevel = 0.95 * height;
  const top = 1.1 * Math.max(1, ...p_data);
  const X = v => left + ((v - low) / (high - low)) * (right - left),
    Y = v => plot - (v / top) * (plot - 8);

  c.strokeStyle = colours.rule;
  c.fillStyle = colours.muted;
  c.textAlign = "right";
  c.textBaseline = "middle";
  for (const tick of [0, 0.5, 1]) {
    c.fillText(tick, left - 6, Y(tick));
    c.beginPath();
    c.moveTo(left, Y(tick));
    c.lineTo(right, Y(tick));
    c.stroke();
  }
  c.save();
  c.beginPath();
  c.rect(left, 0, right - left, plot + 1);
  c.clip();
  const curve = (values, colour, thickness, dash = []) => {
    c.strokeStyle = colour;
    c.lineWidth = thickness;
    c.setLineDash(dash);
    c.beginPath();
    values.forEach((v, i) => c.lineTo(X(x[i]), Y(v)));
    c.stroke();
  };
  c.globalAlpha = 0.15;
  c.fillStyle = colours.generated;
  c.beginPath();
  c.moveTo(X(x[0]), Y(0));
  view.p_g.forEach((v, i) => c.lineTo(X(x[i]), Y(v)));
  c.lineTo(X(x.at(-1)), Y(0));
  c.fill();
  c.globalAlpha = 1;
  curve(view.p_g, colours.generated, 2);
  curve(p_data, colours.data, 2.4, [2, 4]);
  if (probability) curve(view.D_star, colours.best, 1.6); // a critic has another optimum
  curve(view.D, colours.ink, 1.8, [7, 4]);
  c.setLineDash([]);
  c.lineWidth = 1;
  c.restore();

  // Below: the lines of x and z, and where G sends equally spaced z.
  const zs = [...z],
    ends = Math.max(...zs.map(Math.abs));
  const Z = v => (left + right) / 2 + (v / ends) * 0.3 * (right - left);
  c.strokeStyle = colours.ink;
  c.fillStyle = colours.ink;
  c.font = "italic 14px Georgia, serif";
  c.textAlign = "right";
  for (const [name, level, from, to] of [
    ["x", xLevel, left, right],
    ["z", zLevel, Z(-ends), Z(ends)],
  ]) {
    c.fillText(name, from - 8, level);
    c.beginPath();
    c.moveTo(from, level);
    c.lineTo(to, level);
    c.stroke();
  }
  c.font = "11px system-ui, sans-serif";
  c.textAlign = "center";
  c.textBaseline = "bottom";
  c.fillStyle = colours.muted;
  for (const t of ticks(low, high, width < 500 ? 5 : 9)) {
    c.fillText(short(t), X(t), xLevel - 4);
    c.beginPath();
    c.moveTo(X(t), xLevel);
    c.lineTo(X(t), xLevel - 3);
    c.stroke();
  }
  c.strokeStyle = colours.generated;
  c.beginPath();
  const every = Math.max(1, Math.round(zs.length / 22));
  for (let i = 0; i < zs.length; i += every) {
    const to = view.map_x[i];
    if (to >= low && to <= high) arrow(c, Z(zs[i]), zLevel, X(to) - Z(zs[i]), xLevel + 2 - zLevel, 5);
  }
  c.stroke();
}

// --- Curves against the iteration ------------------------------------------------------------

// The values of some names at at most 600 iterations: every stride-th, and stride doubles.
export class History {
  constructor() {
    this.rows = [];
    this.stride = 0;
  }

  add(row) {
    const last = this.rows.at(-1);
    if (last && row.iteration - last.iteration < this.stride) return;
    this.rows.push(row);
    if (this.rows.length > 600) {
      this.rows = this.rows.filter((_, i) => i % 2 === 0);
      this.stride = (row.iteration - this.rows[0].iteration) / 300;
    }
  }
}

// series: {name, colour, dash}   constants: {value, colour, dash}   range: [low, high], or from
// the values; log: the axis shows powers of ten
export function drawChart(canvas, history, {series, constants = [], range, log}) {
  const [c, width, height] = fit(canvas),
    rows = history.rows;
  const left = 38,
    right = width - 8,
    top = 6,
    bottom = height - 18;
  const scale = v => (log ? Math.log10(Math.max(v, 1e-12)) : v);
  const [low, high] =
    range
    ?? span(
      series.flatMap(s => rows.map(row => scale(row[s.name]))),
      constants.map(k => k.value),
    );
  const first = rows[0]?.iteration ?? 0,
    end = Math.max(rows.at(-1)?.iteration ?? 0, first + 10);
  const X = i => left + ((i - first) / (end - first)) * (right - left);
  const Y = v => bottom - ((scale(v) - low) / (high - low)) * (bottom - top);

  c.strokeStyle = colours.rule;
  c.fillStyle = colours.muted;
  c.textAlign = "right";
  c.textBaseline = "middle";
  for (const t of log ? powers(low, high) : ticks(low, high, 4)) {
    const at = bottom - ((t - low) / (high - low)) * (bottom - top);
    c.fillText(log ? `10${superscript(t)}` : short(t), left - 5, at);
    c.beginPath();
    c.moveTo(left, at);
    c.lineTo(right, at);
    c.stroke();
  }
  c.textBaseline = "top";
  c.textAlign = "center";
  const marks = ticks(first, end, 3);
  for (const t of marks) {
    if (X(t) > right - 12) c.textAlign = "right";
    c.fillText(t >= 1e4 ? `${t / 1e3}k` : t, Math.min(X(t), right), bottom + 5);
  }
  c.textAlign = "right";
  if (X(marks.at(-1)) < right - 68) c.fillText("iteration", right, bottom + 5);
  c.save();
  c.beginPath();
  c.rect(left, top - 2, right - left, bottom - top + 4);
  c.clip();
  for (const {value, colour, dash = [2, 3]} of constants) {
    c.strokeStyle = colours[colour];
    c.setLineDash(dash);
    c.beginPath();
    c.moveTo(left, Y(value));
    c.lineTo(right, Y(value));
    c.stroke();
  }
  for (const {name, colour, dash = []} of series) {
    c.strokeStyle = colours[colour];
    c.lineWidth = 1.4;
    c.setLineDash(dash);
    c.beginPath();
    for (const row of rows) if (Number.isFinite(row[name])) c.lineTo(X(row.iteration), Y(row[name]));
    c.stroke();
  }
  c.restore();
}

// The range of the values without the most extreme hundredths, with the constants in it.
function span(values, constants) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b),
    n = sorted.length;
  if (!n) return [Math.min(...constants, 0), Math.max(...constants, 1)];
  const low = Math.min(sorted[Math.floor(0.02 * (n - 1))], ...constants);
  const high = Math.max(sorted[Math.ceil(0.98 * (n - 1))], ...constants);
  const margin = Math.max(0.08 * (high - low), 1e-3 * Math.abs(high), 1e-6);
  return [low - margin, high + margin];
}

function powers(low, high) {
  const step = Math.max(1, Math.ceil((high - low) / 4)),
    all = [];
  for (let p = Math.ceil(low); p <= high; p += step) all.push(p);
  return all;
}

function superscript(n) {
  return String(n).replace(/./g, digit => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]);
}
