// The engine that trains: lab.py, in a Web Worker or in a program on this machine.
//
// Both take the same messages, plain objects with a `kind`. Frames are Float32Arrays.

export class Engine {
  constructor(receive) {
    this.receive = receive; // called with every message of the engine
    this.waiting = new Map(); // id -> the promise's resolve
    this.id = 0;
  }

  // Post a message, and return a promise of its answer.
  ask(message) {
    const id = ++this.id;
    return new Promise(resolve => {
      this.waiting.set(id, resolve);
      this.post({...message, id});
    });
  }

  arrived(message) {
    this.receive(message);
    this.waiting.get(message.id)?.(message);
    this.waiting.delete(message.id);
  }
}

// Pyodide in a Web Worker. pyodide, base: the addresses of Pyodide and of the repository.
export class WorkerEngine extends Engine {
  constructor(receive, pyodide, base) {
    super(receive);
    this.worker = new Worker("worker.js");
    this.worker.onmessage = ({data}) => this.arrived(data);
    this.worker.onerror = event =>
      this.arrived({
        kind: "error",
        sentence: `The worker stopped (${event.message || "worker.js is missing"}). Load the page again.`,
      });
    this.post({kind: "boot", pyodide, base});
  }

  post(message) {
    this.worker.postMessage(message);
  }
}

// `python examples/lab.py --native`: messages are posted, and answers come as server-sent events.
export class NativeEngine extends Engine {
  constructor(receive) {
    super(receive);
    this.page = `?page=${Math.random().toString(36).slice(2)}`; // each tab has its own G and D
    const events = new EventSource("events" + this.page);
    events.onmessage = ({data}) => {
      const message = JSON.parse(data);
      if (message.frame) message.frame = floats(message.frame);
      this.arrived(message);
    };
    events.onerror = () => {
      events.close(); // a new connection would begin with new players
      this.arrived({
        kind: "error",
        sentence:
          "The program behind this page has ended. Start it again, python examples/lab.py --native, "
          + "and load the page again.",
      });
    };
    this.last = Promise.resolve();
  }

  post(message) {
    // one after the other, so that their order is kept
    this.last = this.last.then(() =>
      fetch("message" + this.page, {
        method: "POST",
        headers: {"Content-Type": "application/json"},
        body: JSON.stringify(message),
      }),
    );
    this.last.catch(() => {});
  }
}

// Float32 values from base64.
function floats(text) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
