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
  const refusing = (group) => Object.keys(group.refusals).length > 0;
  return [...groups.values()].sort((a, b) => refusing(b) - refusing(a));
}

function opRow(group) {
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

function drawOps() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const text = (g) =>
    `${g.site} ${g.pattern} ${g.op} ${g.kernel} ${Object.entries(g.refusals).flat().join(" ")}`.toLowerCase();
  const seen = grouped(bindings).filter(
    (g) => text(g).includes(wanted) && (!byId("refused").checked || Object.keys(g.refusals).length),
  );
  byId("rows").replaceChildren(...seen.map(opRow));
  const sites = seen.reduce((sum, g) => sum + g.count, 0);
  byId("ops-count").textContent = `${count(sites)} of ${count(bindings.length)} bindings`;
  byId("kernels")
    .querySelectorAll("button")
    .forEach((chip) => chip.setAttribute("aria-pressed", chip.dataset.kernel === wanted));
}

function opsTable(table) {
  bindings = table.data;
  byId("ops-about").replaceChildren(
    `${table.model} in ${table.dtype} on ${table.device}. Kernels were chosen when the model was built; `,
    element("code", "rustinfer ops why"),
    " says the same.",
  );
  const kernels = Object.entries(Object.groupBy(bindings, (b) => b.kernel)).sort((a, b) => b[1].length - a[1].length);
  byId("kernels").replaceChildren(
    ...kernels.map(([kernel, rows]) => {
      const chip = button(
        `${kernel} `,
        () => {
          byId("filter").value = byId("filter").value === kernel ? "" : kernel;
          drawOps();
        },
        "chip",
      );
      chip.dataset.kernel = kernel;
      chip.append(element("b", rows.length));
      return chip;
    }),
  );
  drawOps();
}

byId("filter").addEventListener("input", drawOps);
byId("refused").addEventListener("change", drawOps);
