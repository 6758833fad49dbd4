// Wires the page together.
function select(name) {
  for (const view of ["chat", "ops"]) {
    byId(view).hidden = view !== name;
    byId(`tab-${view}`).setAttribute("aria-selected", view === name);
  }
  location.hash = name === "chat" ? "" : name;
  if (name === "ops") loadOps().catch((error) => { byId("ops-about").textContent = error.message; });
}

function remember(id) {
  const input = byId(id);
  const output = byId(`o-${id}`);
  const shown = () => { if (output) output.textContent = Number(input.value).toFixed(2); };
  input.value = localStorage.getItem(`rustinfer.${id}`) ?? input.value;
  input.addEventListener("input", () => {
    localStorage.setItem(`rustinfer.${id}`, input.value);
    shown();
  });
  shown();
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
}

async function findModel() {
  for (;;) {
    const response = await call("/v1/models").catch(() => null);
    if (response?.ok) {
      const [card] = (await response.json()).data;
      model = card.id;
      byId("model").textContent = `${card.id} · ${card.max_model_len} context`;
      return;
    }
    byId("model").textContent = "waiting for the engine …";
    await new Promise((done) => setTimeout(done, 1000));
  }
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) {
    running.abort();
    return;
  }
  const text = byId("input").value;
  byId("input").value = "";
  byId("input").dispatchEvent(new Event("input"));
  send(text);
});
byId("input").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!running) byId("composer").requestSubmit();
  }
});
byId("input").addEventListener("input", () => {
  byId("input").style.height = "auto";
  byId("input").style.height = `${byId("input").scrollHeight}px`;
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") running?.abort(); });
document.querySelectorAll(".ideas button").forEach((idea) => idea.addEventListener("click", () => send(idea.textContent)));
["temperature", "top_p", "top_k", "max_tokens", "seed", "system"].forEach(remember);
byId("clear").addEventListener("click", clear);
byId("key").addEventListener("click", () => key.ask());
byId("filter").addEventListener("input", draw);
byId("tab-chat").addEventListener("click", () => select("chat"));
byId("tab-ops").addEventListener("click", () => select("ops"));
byId("toggle-settings").addEventListener("click", () => {
  const open = byId("settings").classList.toggle("open");
  byId("toggle-settings").setAttribute("aria-expanded", open);
});
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  theme(dark ? "light" : "dark");
  localStorage.setItem("rustinfer.theme", dark ? "light" : "dark");
});
theme(localStorage.getItem("rustinfer.theme"));
select(location.hash === "#ops" ? "ops" : "chat");
findModel().then(watch, watch);
