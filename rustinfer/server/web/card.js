// The model card: what is served, by what, with which kernels.
let model = "";
let context = 0; // tokens

// What to ask for: known once the card was read, and otherwise asked for now.
async function modelName() {
  model ||= (await get("/v1/models")).data[0].id;
  return model;
}

async function describe() {
  const [
    {
      data: [card],
    },
    version,
    table,
  ] = await Promise.all(["/v1/models", "/version", "/v1/ops"].map(get));
  [model, context] = [card.id, card.max_model_len];
  if (!answering()) showContext();
  byId("model").textContent = card.id;
  document.title = `${card.id} · rustinfer`;
  const kernels = Object.entries(Object.groupBy(table.data, (row) => row.kernel)).map(
    ([name, rows]) => `${name} (${rows.length})`,
  );
  const facts = {
    Model: card.id,
    "Loaded from": card.root,
    Context: `${count(card.max_model_len)} tokens`,
    Device: table.device,
    "Data type": table.dtype,
    "Serving since": new Date(card.created * 1000).toLocaleString(),
    "Kernels bound": kernels.join(", "),
    Server: `rustinfer ${version.version}, protocol ${version.protocol}`,
    Engine: version.engine ? `rustinfer ${version.engine.version}` : "away",
    Fingerprint: table.fingerprint,
  };
  byId("facts").replaceChildren(
    ...Object.entries(facts).flatMap(([name, value]) => [element("dt", name), element("dd", value || "–")]),
  );
  opsTable(table);
}
