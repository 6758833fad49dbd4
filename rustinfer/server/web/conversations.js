// The list of conversations at the left, and moving them out of the browser and back.
// The tab goes on with the one that it showed before it was loaded again.
let conversation =
  store.get(sessionStorage.getItem("rustinfer.open")) ?? fresh(localStorage.getItem("rustinfer.system") || "");

function drawConversations() {
  const seen = store.all();
  byId("conversations").replaceChildren(...seen.map(conversationLine));
  byId("no-conversations").hidden = seen.length > 0;
  byId("export").disabled = seen.length === 0;
}

function conversationLine(one) {
  const title = one.title || "Untitled";
  const line = element("li", undefined, running.has(one.id) ? "running" : "");
  const open = button(title, () => openConversation(one.id), "open");
  open.title = title;
  if (one.id === conversation.id) open.setAttribute("aria-current", "true");
  if (running.has(one.id)) open.setAttribute("aria-label", `${title}, being answered`);
  const named = (mark, name, action) => {
    const made = button(mark, action, "tool");
    made.setAttribute("aria-label", `${name} “${title}”`);
    return made;
  };
  line.append(
    open,
    named("✎", "Rename", () => renameConversation(line, one)),
    named("×", "Delete", () => removeConversation(one)),
  );
  return line;
}

function showConversation(one) {
  conversation = one;
  sessionStorage.setItem("rustinfer.open", one.id);
  byId("system").value = one.system;
  drawTurns();
  drawConversations();
  closeDrawers();
  focusInput();
}

const openConversation = (id) => showConversation(running.get(id)?.asked ?? store.get(id) ?? fresh());
const newConversation = () => showConversation(fresh(byId("system").value));

function renameConversation(line, one) {
  const field = element("input");
  field.value = one.title;
  field.maxLength = 60;
  field.setAttribute("aria-label", "Title");
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") field.blur();
    else if (event.key === "Escape") {
      event.stopPropagation();
      field.value = one.title;
      field.blur();
    }
  });
  field.addEventListener("blur", () => {
    const open = conversation.id === one.id && conversation;
    const all = [running.get(one.id)?.asked, open, store.get(one.id)].filter(Boolean);
    for (const each of all) each.title = field.value.trim() || one.title;
    if (all.length) store.save(all[0]);
    drawConversations();
  });
  line.replaceChildren(field);
  field.select();
}

function removeConversation(one) {
  if (!confirm(`Delete “${one.title || "Untitled"}”? It is kept nowhere else.`)) return;
  running.get(one.id)?.control.abort();
  removed.add(one.id);
  store.remove(one.id);
  if (one.id === conversation.id) newConversation();
  else drawConversations();
}

// Writes a conversation down as it stands. An empty one is not worth a line, and one that was deleted stays so.
const removed = new Set();

function keep(one = conversation) {
  if (!one.turns.length || removed.has(one.id)) return;
  one.title ||= one.turns[0].text.trim().replace(/\s+/g, " ").slice(0, 60);
  if (one === conversation) one.system = byId("system").value;
  one.changed = Date.now();
  store.save(one);
  sessionStorage.setItem("rustinfer.open", conversation.id);
  drawConversations();
}

byId("new").addEventListener("click", newConversation);
byId("export").addEventListener("click", () => download("rustinfer-conversations.json", store.text(store.all())));
byId("import").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  try {
    const count = store.take(await file.text());
    notice(`${count} ${count === 1 ? "conversation" : "conversations"} imported.`);
  } catch (error) {
    notice(error.message);
  }
  drawConversations();
});
byId("system").addEventListener("change", () => {
  localStorage.setItem("rustinfer.system", byId("system").value);
  keep();
});
// Another tab wrote or removed one.
addEventListener("storage", drawConversations);
addEventListener("pagehide", () => {
  running.forEach(({ asked }) => store.save(asked));
  if (byId("system").value !== conversation.system) keep();
});
