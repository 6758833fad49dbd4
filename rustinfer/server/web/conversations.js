// The list of conversations at the left, and moving them out of the browser and back.
let conversation = fresh(localStorage.getItem("rustinfer.system") || "");

function drawConversations() {
  const seen = store.all();
  byId("conversations").replaceChildren(
    ...seen.map((one) => {
      const line = element("li");
      const open = button(one.title || "Untitled", () => openConversation(one.id), "open");
      if (one.id === conversation.id) open.setAttribute("aria-current", "true");
      const remove = button("×", () => removeConversation(one), "remove");
      remove.setAttribute("aria-label", `Delete “${one.title || "Untitled"}”`);
      line.append(open, remove);
      return line;
    }),
  );
  byId("no-conversations").hidden = seen.length > 0;
  byId("export").disabled = seen.length === 0;
}

function openConversation(id) {
  stop();
  conversation = store.get(id) || fresh();
  byId("system").value = conversation.system;
  drawTurns();
  drawConversations();
  closeDrawers();
  byId("input").focus();
}

function newConversation() {
  stop();
  conversation = fresh(byId("system").value);
  drawTurns();
  drawConversations();
  closeDrawers();
  byId("input").focus();
}

function removeConversation(one) {
  if (!confirm(`Delete “${one.title || "Untitled"}”? It is kept nowhere else.`)) return;
  store.remove(one.id);
  if (one.id === conversation.id) newConversation();
  else drawConversations();
}

// Writes the conversation down as it stands. An empty one is not worth a line.
function keep() {
  if (!conversation.turns.length) return;
  conversation.title ||= conversation.turns[0].text.trim().replace(/\s+/g, " ").slice(0, 60);
  conversation.system = byId("system").value;
  conversation.changed = Date.now();
  store.save(conversation);
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
addEventListener("pagehide", keep);
