// What /metrics says, as numbers: sums over labels, and quantiles of histograms.
function parsed(text) {
  const sums = new Map();
  const buckets = new Map();
  for (const line of text.split("\n")) {
    const found = line.match(/^rustinfer_(\w+?)(?:\{(.*)\})? (\S+)$/);
    if (!found) continue;
    const [, name, labels, value] = found;
    const edge = labels?.match(/\ble="([^"]+)"/)?.[1];
    if (edge === undefined) sums.set(name, (sums.get(name) || 0) + Number(value));
    else {
      const base = name.replace(/_bucket$/, "");
      if (!buckets.has(base)) buckets.set(base, new Map());
      const edges = buckets.get(base);
      edges.set(
        Number(edge.replace("+Inf", "Infinity")),
        (edges.get(Number(edge.replace("+Inf", "Infinity"))) || 0) + Number(value),
      );
    }
  }
  return {
    has: (name) => sums.has(name),
    get: (name) => sums.get(name) ?? 0,
    buckets: (name) => buckets.get(name) || new Map(),
  };
}

// The q-quantile in seconds of what was counted between two readings; NaN where nothing was.
function quantile(before, after, q) {
  const edges = [...after.keys()].sort((a, b) => a - b);
  const counts = edges.map((edge) => after.get(edge) - (before.get(edge) || 0));
  const wanted = q * (counts.at(-1) || 0);
  if (!wanted) return NaN;
  const at = counts.findIndex((count) => count >= wanted);
  const [low, below] = at ? [edges[at - 1], counts[at - 1]] : [0, 0];
  if (edges[at] === Infinity) return low;
  return low + ((edges[at] - low) * (wanted - below)) / (counts[at] - below);
}

// Numbers in words; what was not measured is a dash.
function duration(seconds) {
  if (Number.isNaN(seconds)) return "–";
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  return `${(seconds * 1000).toFixed(seconds < 0.0995 ? 1 : 0)} ms`;
}

function count(value) {
  if (Number.isNaN(value)) return "–";
  return value >= 10 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

function percent(share) {
  return Number.isNaN(share) ? "–" : `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

function bytes(n) {
  return n >= 1e9 ? `${(n / 1e9).toFixed(n < 1e11 ? 2 : 0)} GB` : `${Math.round(n / 1e6)} MB`;
}
