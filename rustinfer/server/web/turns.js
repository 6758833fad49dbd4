// Turns on the page: one article each, with what one may do to it.
const ENDS = {
  length: "cut at the token limit",
  stopped: "stopped",
  error: "broke off",
  left: "broke off when the page was left",
};

const blank = (role, text = "") => ({ role, text, thought: "", note: "", error: "", end: "", versions: [], at: 0 });
const version = ({ text, thought, note, error, end }) => ({ text, thought, note, error, end });

function drawTurns() {
  byId("log")
    .querySelectorAll(".turn")
    .forEach((node) => node.remove());
  byId("hello").hidden = conversation.turns.length > 0;
  conversation.turns.forEach(drawTurn);
  showSend();
  toEnd();
}

function drawTurn(turn) {
  byId("hello").hidden = true;
  const node = element("article", undefined, `turn ${turn.role}`);
  node.setAttribute("aria-label", turn.role === "user" ? "You" : "Assistant");
  node.append(element("div", undefined, "text"), element("div", undefined, "actions"));
  byId("log").append(node);
  // What the page knows of a turn and never writes down.
  Object.defineProperty(turn, "node", { value: node, configurable: true, enumerable: false });
  redraw(turn);
}

// All of a turn: its text, what became of it, and what can be done with it now.
function redraw(turn) {
  const { node } = turn;
  const is = busy(turn);
  node.classList.toggle("busy", is);
  node.setAttribute("aria-busy", is);
  node.querySelector(".error")?.remove();
  if (!turn.thought) node.querySelector("details")?.remove();
  showTurn(turn);
  if (turn.error) node.insertBefore(element("div", turn.error, "error"), node.lastChild);
  const had = node.lastChild.contains(document.activeElement);
  node.lastChild.replaceChildren(...(turn.role === "user" ? userActions(turn) : assistantActions(turn)));
  if (had) byId("log").focus();
}

const copyButton = (turn) => button("Copy", (event) => copy(turn.text, event.currentTarget));
const userActions = (turn) => [button("Edit", () => editTurn(turn)), copyButton(turn)];

function assistantActions(turn) {
  const cutShort = turn.end in ENDS;
  const note = [turn.note, cutShort && (turn.text || turn.end !== "error") ? ENDS[turn.end] : ""];
  return [
    element("span", note.filter(Boolean).join(" · "), "note"),
    ...(turn.versions.length > 1 ? [versions(turn)] : []),
    ...(cutShort && turn.text ? [button("Continue", () => goOn(turn))] : []),
    button("Regenerate", () => regenerate(turn)),
    ...(turn.text ? [copyButton(turn)] : []),
  ];
}

// Leafs through the answers that were given to the same message.
function versions(turn) {
  const group = element("span", undefined, "versions");
  const step = (mark, name, by) => {
    const made = button(mark, () => choose(turn, turn.at + by));
    made.setAttribute("aria-label", name);
    made.disabled = !turn.versions[turn.at + by];
    return made;
  };
  const place = element("span", `${turn.at + 1}/${turn.versions.length}`);
  group.append(step("‹", "Answer before", -1), place, step("›", "Answer after", 1));
  return group;
}

function showTurn(turn) {
  const text = turn.node.querySelector(".text");
  if (turn.role === "user") {
    text.textContent = turn.text;
    // What scrolls must be reached by keyboard, too.
    if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
  } else render(text, turn.text);
  if (turn.thought) showThought(turn);
}

function showThought(turn) {
  let thought = turn.node.querySelector("details");
  if (!thought) {
    thought = element("details");
    thought.append(element("summary"), element("div", undefined, "thought"));
    turn.node.prepend(thought);
  }
  thought.firstChild.textContent = busy(turn) && !turn.text ? "Thinking …" : "Thoughts";
  render(thought.lastChild, turn.thought);
}

// Edit in place; sending it drops what came after.
function editTurn(turn) {
  if (answering() || turn.node.querySelector("form")) return;
  const form = element("form", undefined, "edit");
  const area = element("textarea", turn.text);
  area.setAttribute("aria-label", "Edit the message");
  area.rows = Math.min(turn.text.split("\n").length + 1, 12);
  const close = () => {
    form.remove();
    turn.node.classList.remove("editing");
    turn.node.querySelector(".actions button").focus();
  };
  form.append(area, button("Cancel", close, "quiet"), element("button", "Send"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!area.value.trim()) return;
    form.remove();
    resend(turn, area.value.trim());
    focusInput();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (sends(event)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  turn.node.classList.add("editing");
  turn.node.prepend(form);
  area.focus();
}

function atEnd() {
  const log = byId("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
}

function toEnd() {
  byId("log").scrollTop = byId("log").scrollHeight;
}

byId("log").addEventListener("scroll", () => {
  byId("down").hidden = atEnd();
});
byId("down").addEventListener("click", toEnd);
