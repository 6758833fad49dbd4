// The ops table: which kernel runs at which site, and why no other. Equal rows of several layers are one row.
let bindings = [];

function grouped(rows) {
  const groups = new Map();
  for (const row of rows) {
    const pattern = row.site.replace(/\d+/g, "*");
    const id = JSON.stringify([pattern, row.op, row.kernel, row.refusals]);
    const group = groups.get(id) || { ...row, pattern, count: 0 };
    group.count += 1;
    groups.set(id, group);
  }
  // Where something was refused comes first: that is what one looks for.
  const refused = (group) => Object.keys(group.refusals).length > 0;
  return [...groups.values()].sort((a, b) => refused(b) - refused(a));
}

function row(group) {
  const line = element("tr");
  const site = element("td", group.count > 1 ? group.pattern : group.site || "–");
  if (group.count > 1) site.append(element("span", `×${group.count}`, "times"));
  const why = element("td");
  for (const [kernel, reason] of Object.entries(group.refusals)) {
    const one = element("div", undefined, "why");
    one.append(element("b", kernel), ` ${reason}`);
    why.append(one);
  }
  if (!why.firstChild) why.append(element("span", "first in order, taken", "muted"));
  line.append(site, element("td", group.op), element("td", group.kernel, "kernel"), why);
  return line;
}

function draw() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const seen = grouped(bindings).filter((g) => `${g.site} ${g.pattern} ${g.op} ${g.kernel}`.toLowerCase().includes(wanted));
  byId("rows").replaceChildren(...seen.map(row));
}

async function loadOps() {
  const response = await call("/v1/ops");
  if (!response.ok) {
    byId("ops-about").textContent = (await failure(response)).message;
    return;
  }
  const answer = await response.json();
  bindings = answer.data;
  const counts = Object.entries(Object.groupBy(bindings, (b) => b.kernel)).sort((a, b) => b[1].length - a[1].length);
  byId("ops-about").textContent = `${answer.model} in ${answer.dtype}: ${bindings.length} bindings, chosen when the model was built.`;
  byId("kernels").replaceChildren(...counts.map(([kernel, rows]) => {
    const chip = element("button", `${kernel} `, "chip");
    chip.append(element("b", rows.length));
    chip.addEventListener("click", () => {
      byId("filter").value = byId("filter").value === kernel ? "" : kernel;
      draw();
    });
    return chip;
  }));
  draw();
}
