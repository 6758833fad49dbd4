// A small plot over time: one or two lines of SVG over the last two minutes, a value a second.
const SPAN = 120;
const [WIDE, HIGH] = [240, 56];

function svg(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Where nothing was measured the line has a gap.
function path(values, top) {
  let drawing = false;
  return values
    .map((value, i) => {
      if (!Number.isFinite(value)) {
        drawing = false;
        return "";
      }
      const point = `${((i + SPAN - values.length) * WIDE) / (SPAN - 1)} ${HIGH - 1 - ((HIGH - 4) * value) / top}`;
      const mark = drawing ? `L${point}` : `M${point}h.1`;
      drawing = true;
      return mark;
    })
    .join("");
}

function plot(title) {
  const node = svg("svg", {
    viewBox: `0 0 ${WIDE} ${HIGH}`,
    preserveAspectRatio: "none",
    role: "img",
    class: "plot",
    "aria-label": title,
  });
  const [area, first, second] = ["area", "line", "line second"].map((name) => svg("path", { class: name }));
  node.append(
    svg("path", { class: "grid", d: `M0 ${HIGH - 1}H${WIDE}M0 ${HIGH / 2}H${WIDE}M0 3H${WIDE}` }),
    area,
    second,
    first,
  );
  // `series` is one or two lists of numbers; `least` is the smallest full scale. Returns the scale's top.
  const draw = (series, least, show) => {
    const finite = series.flat().filter(Number.isFinite);
    const top = Math.max(...finite, least);
    const line = path(series[0], top);
    first.setAttribute("d", line);
    second.setAttribute("d", series[1] ? path(series[1], top) : "");
    const whole = series[0].every(Number.isFinite) && series[0].length > 1;
    area.setAttribute("d", whole ? `${line}V${HIGH - 1}H${((SPAN - series[0].length) * WIDE) / (SPAN - 1)}Z` : "");
    const [now, most] = [series[0].at(-1) ?? NaN, finite.length ? Math.max(...finite) : NaN];
    node.setAttribute("aria-label", `${title}, last two minutes: now ${show(now)}, at most ${show(most)}`);
    return top;
  };
  return { node, draw };
}
