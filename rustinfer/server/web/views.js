// Which view is seen, light or dark, and the panels that slide in where the page is narrow.
const VIEWS = ["chat", "dashboard", "ops"];

function view(name) {
  for (const one of VIEWS) {
    const tab = byId(`tab-${one}`);
    byId(one).hidden = one !== name;
    tab.setAttribute("aria-selected", one === name);
    tab.tabIndex = one === name ? 0 : -1;
  }
  document.body.dataset.view = name;
  history.replaceState(null, "", name === "chat" ? location.pathname : `#${name}`);
  closeDrawers();
}

VIEWS.forEach((name, i) => {
  byId(`tab-${name}`).addEventListener("click", () => view(name));
  byId(`tab-${name}`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: VIEWS.length - 1 }[event.key];
    if (!step) return;
    const next = VIEWS[(i + step) % VIEWS.length];
    view(next);
    byId(`tab-${next}`).focus();
  });
});

function toggle(name) {
  const open = byId(name).classList.toggle("open");
  byId(`toggle-${name}`).setAttribute("aria-expanded", open);
  const other = name === "history" ? "settings" : "history";
  if (open) close(other);
}

function close(name) {
  byId(name).classList.remove("open");
  byId(`toggle-${name}`).setAttribute("aria-expanded", "false");
}

const closeDrawers = () => ["history", "settings"].forEach(close);

const THEMES = { system: "light", light: "dark", dark: "system" };

function theme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  localStorage.setItem("rustinfer.theme", name);
  byId("theme").textContent = { system: "◐", light: "☀", dark: "☾" }[name];
  byId("theme").setAttribute("aria-label", `Colours: ${name}. Switch to ${THEMES[name]}`);
  byId("theme").title = `Colours: ${name}`;
}

const themeNow = () =>
  localStorage.getItem("rustinfer.theme") in THEMES ? localStorage.getItem("rustinfer.theme") : "system";
byId("theme").addEventListener("click", () => theme(THEMES[themeNow()]));
byId("toggle-history").addEventListener("click", () => toggle("history"));
byId("toggle-settings").addEventListener("click", () => toggle("settings"));
