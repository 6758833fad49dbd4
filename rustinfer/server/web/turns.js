// Turns on the page: one article each, with what one may do to it.
function drawTurns() {
  byId("log")
    .querySelectorAll(".turn")
    .forEach((node) => node.remove());
  byId("hello").hidden = conversation.turns.length > 0;
  conversation.turns.forEach(drawTurn);
  toEnd();
}

function drawTurn(turn) {
  byId("hello").hidden = true;
  const user = turn.role === "user";
  const node = element("article", undefined, `turn ${turn.role}`);
  node.setAttribute("aria-label", user ? "You" : "Assistant");
  const [text, actions] = [element("div", undefined, "text"), element("div", undefined, "actions")];
  node.append(text, actions);
  byId("log").append(node);
  // What the page knows of a turn and never writes down.
  Object.defineProperty(turn, "node", { value: node, configurable: true, enumerable: false });
  showTurn(turn);
  actions.append(
    element("span", turn.note, "note"),
    user ? button("Edit", () => editTurn(turn)) : button("Regenerate", () => regenerate(turn)),
    button("Copy", (event) => copy(turn.text, event.currentTarget)),
  );
  return node;
}

function showTurn(turn) {
  const text = turn.node.querySelector(".text");
  if (turn.role === "user") text.textContent = turn.text;
  else render(text, turn.text);
  if (turn.thought) showThought(turn);
}

function showThought(turn) {
  let thought = turn.node.querySelector("details");
  if (!thought) {
    thought = element("details");
    thought.append(element("summary", "Thoughts"), element("div", undefined, "thought"));
    turn.node.prepend(thought);
  }
  render(thought.lastChild, turn.thought);
}

function failTurn(turn, message) {
  turn.node.querySelector(".error")?.remove();
  const line = element("div", message, "error");
  turn.node.insertBefore(line, turn.node.querySelector(".actions"));
  announce(message);
}

// Edit in place; sending it drops what came after.
function editTurn(turn) {
  if (running || turn.node.querySelector("form")) return;
  const form = element("form", undefined, "edit");
  const area = element("textarea", turn.text);
  area.setAttribute("aria-label", "Edit the message");
  area.rows = Math.min(turn.text.split("\n").length + 1, 12);
  const send = element("button", "Send");
  const close = () => {
    form.remove();
    turn.node.classList.remove("editing");
    turn.node.querySelector(".actions button").focus();
  };
  form.append(area, button("Cancel", close, "quiet"), send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!area.value.trim()) return;
    form.remove();
    resend(turn, area.value.trim());
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

const sends = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing;

function atEnd() {
  const log = byId("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
}

function toEnd() {
  byId("log").scrollTop = byId("log").scrollHeight;
}
