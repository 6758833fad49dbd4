// The server's API: the key, one request, and a stream of events.
const key = {
  get: () => sessionStorage.getItem("rustinfer.key") || "",
  asked: null,
  // One dialog, however many requests were refused. Resolves to whether a key was given.
  ask: () => {
    key.asked ??= new Promise((done) => {
      const dialog = byId("ask");
      byId("ask-key").value = key.get();
      dialog.returnValue = "cancel";
      dialog.showModal();
      dialog.addEventListener(
        "close",
        () => {
          key.asked = null;
          const given = dialog.returnValue === "ok";
          if (given) {
            sessionStorage.setItem("rustinfer.key", byId("ask-key").value.trim());
            dispatchEvent(new Event("key"));
          }
          done(given);
        },
        { once: true },
      );
    });
    return key.asked;
  },
};

// An answer other than 2xx: `status`, and after how many seconds the server wants to be asked again.
class Refused extends Error {
  constructor(message, status, after) {
    super(message);
    Object.assign(this, { status, after });
  }
}

async function call(path, options = {}) {
  for (;;) {
    const headers = { "Content-Type": "application/json" };
    const sent = key.get();
    if (sent) headers.Authorization = `Bearer ${sent}`;
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    // Another request may have been given a key meanwhile.
    if (sent === key.get() && !(await key.ask())) throw new Refused("This server wants an API key.", 401);
  }
}

async function refused(response) {
  const body = await response.json().catch(() => null);
  const message = body?.error?.message || `The server answered ${response.status}.`;
  return new Refused(message, response.status, Number(response.headers.get("Retry-After")) || 1);
}

async function get(path) {
  const response = await call(path);
  if (!response.ok) throw await refused(response);
  return response.json();
}

// Yields each event's JSON until [DONE]; throws where the server reports an error.
async function* events(path, body, signal) {
  const response = await call(path, { method: "POST", body: JSON.stringify(body), signal });
  if (!response.ok) throw await refused(response);
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
