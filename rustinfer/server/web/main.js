// Wires the page together: the composer, the keyboard, and the start.
function grow() {
  const input = byId("input");
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (answering()) {
    stop();
    return;
  }
  const text = byId("input").value;
  byId("input").value = "";
  grow();
  send(text);
});
byId("input").addEventListener("input", grow);
byId("input").addEventListener("keydown", (event) => {
  if (sends(event)) {
    event.preventDefault();
    if (!answering()) byId("composer").requestSubmit();
  } else if (event.key === "ArrowUp" && !byId("input").value) {
    const last = conversation.turns.findLast((turn) => turn.role === "user");
    if (last) editTurn(last);
  }
});
document
  .querySelectorAll(".ideas button")
  .forEach((idea) => idea.addEventListener("click", () => send(idea.textContent)));

// With a keyboard on the screen, Enter is for new lines, and the field is not entered before it is touched.
const touch = matchMedia("(hover: none) and (pointer: coarse)");
const sends = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && !touch.matches;
const focusInput = () => touch.matches || byId("input").focus();

const typing = (node) => node.matches("input, textarea, select");
const SHORTCUTS = {
  "/": () => {
    view("chat");
    focusInput();
  },
  "?": () => byId("help").showModal(),
  n: () => {
    view("chat");
    newConversation();
  },
  1: () => view("chat"),
  2: () => view("dashboard"),
  3: () => view("ops"),
};
document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (drawn()) closeDrawers();
    else stop();
  } else if (
    !event.ctrlKey &&
    !event.metaKey &&
    !event.altKey &&
    !typing(event.target) &&
    Object.hasOwn(SHORTCUTS, event.key)
  ) {
    event.preventDefault();
    SHORTCUTS[event.key]();
  }
});
byId("shortcuts").addEventListener("click", () => byId("help").showModal());

theme(themeNow());
view(VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "chat");
byId("system").value = conversation.system;
drawTurns();
drawConversations();
if (document.body.dataset.view === "chat") focusInput();
watch();
