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

const DRAWERS = ["history", "settings"];
const drawn = () => DRAWERS.find((name) => byId(name).classList.contains("open"));

function openDrawer(name) {
  closeDrawers();
  byId(name).classList.add("open");
  byId(`toggle-${name}`).setAttribute("aria-expanded", "true");
  byId("shade").hidden = false;
  byId(name).querySelector("button").focus();
}

// The keyboard's place goes back to the button that opened the drawer, if it was in there.
function closeDrawers() {
  const name = drawn();
  if (!name) return;
  const inside = byId(name).contains(document.activeElement);
  byId(name).classList.remove("open");
  byId(`toggle-${name}`).setAttribute("aria-expanded", "false");
  byId("shade").hidden = true;
  if (inside) byId(`toggle-${name}`).focus();
}

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
DRAWERS.forEach((name) => byId(`toggle-${name}`).addEventListener("click", () => openDrawer(name)));
document.querySelectorAll("#shade, .close").forEach((node) => node.addEventListener("click", closeDrawers));
