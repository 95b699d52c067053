// The laboratory's worker: loads Pyodide, NumPy and npgan's own sources, then runs lab.py.
//
// It hands each message of the page to lab.py as JSON, and posts what lab.py answers. The first
// message is {kind: "boot", pyodide, base}: the addresses of Pyodide's folder and of the
// repository's root, both with a slash at the end. The page sends the next one after "ready".

// All modules that lab.py imports, directly or not. tests/test_lab.py compares the list with the imports.
const SOURCES = ["__init__", "backend", "conv", "data/__init__", "data/toy", "divergences", "gan", "kernels",
                 "layers", "metrics", "net", "objectives", "optim", "penalty", "priors", "pyramid", "runs/__init__",
                 "runs/checkpoint", "theory"];

let lab;                                    // lab.py's Lab, once Python is ready
const again = new MessageChannel();         // asks for the next frame; messages of the page come between
again.port1.onmessage = tick;
let asked = false;

onmessage = ({data}) => {
  if (data.kind === "boot") boot(data);
  else receive(data);
};

function receive(message) {
  lab.receive(JSON.stringify(message));
  ask();
}

function ask() {
  if (!lab.running || asked) return;
  asked = true;
  const wait = 1000 * lab.wait();           // milliseconds until the next frame is due
  if (wait > 1) setTimeout(tick, wait);
  else again.port2.postMessage(null);
}

function tick() {
  asked = false;
  lab.tick();
  ask();
}

function post(text, frame) {
  const message = JSON.parse(text);
  if (frame) {
    const buffer = frame.getBuffer("f32");
    message.frame = buffer.data.slice();    // a copy: the buffer is NumPy's memory
    buffer.release();
    frame.destroy();
  }
  postMessage(message, message.frame ? [message.frame.buffer] : []);
}

async function boot({pyodide, base}) {
  const steps = SOURCES.length + 3;
  let done = 0;
  const stage = text => postMessage({kind: "loading", stage: text, done: done++, of: steps});
  let what = "WebAssembly is not available in this browser";
  try {
    if (typeof WebAssembly !== "object") throw new Error("it is switched off, or the browser is old");
    what = `Python could not be loaded from ${pyodide}`;
    stage("Python (Pyodide)");
    importScripts(pyodide + "pyodide.js");
    const python = await loadPyodide({indexURL: pyodide});
    what = `NumPy could not be loaded from ${pyodide}`;
    stage("NumPy");
    await python.loadPackage("numpy", {messageCallback: () => {}});
    if (!python.loadedPackages.numpy) throw new Error("the download failed");
    what = `npgan could not be loaded from ${base}`;
    const load = async (address, path) => {
      const answer = await fetch(base + address);
      if (!answer.ok) throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
      python.FS.writeFile(path, await answer.text());
      stage(address);
    };
    for (const folder of ["data", "runs"]) python.FS.mkdirTree(`/lab/npgan/${folder}`);
    await Promise.all([load("docs/lab/lab.py", "/lab/lab.py"),
                       ...SOURCES.map(name => load(`npgan/${name}.py`, `/lab/npgan/${name}.py`))]);
    python.runPython("import sys; sys.path.insert(0, '/lab'); from lab import Lab");
    const Lab = python.globals.get("Lab");
    lab = Lab(post);                        // posts "ready"
    Lab.destroy();
  } catch (error) {
    const reason = String(error.message || error).trim().split("\n").pop();
    postMessage({kind: "error", sentence: `${what} (${reason}). Load the page again later, ` +
                                          "or run python examples/lab.py --native on this machine."});
  }
}
