// The server's API: the key, one request, and a stream of events.
const byId = (id) => document.getElementById(id);

const element = (tag, text, className) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};

const key = {
  get: () => sessionStorage.getItem("key") || "",
  ask: () => {
    const dialog = byId("ask");
    if (!dialog.open) {
      byId("ask-key").value = key.get();
      dialog.returnValue = "cancel";
      dialog.showModal();
    }
    return new Promise((done) => dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "ok";
      if (given) sessionStorage.setItem("key", byId("ask-key").value.trim());
      done(given);
    }, { once: true }));
  },
};

async function call(path, options = {}) {
  for (;;) {
    const headers = { "Content-Type": "application/json" };
    if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    if (!(await key.ask())) throw new Error("This server wants an API key.");
  }
}

async function failure(response) {
  const body = await response.json().catch(() => null);
  return new Error(body?.error?.message || `The server answered ${response.status}.`);
}

// Yields each event's JSON until [DONE]; throws where the server reports an error.
async function* events(path, body, signal) {
  const response = await call(path, { method: "POST", body: JSON.stringify(body), signal });
  if (!response.ok) throw await failure(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The connection ended before the answer did.");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      if (part === "data: [DONE]") return;
      const event = JSON.parse(part.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}
