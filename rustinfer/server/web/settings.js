// Sampling controls. An empty field is not sent: the server's default holds.
const NUMBERS = [
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "max_tokens",
  "seed",
  "repetition_penalty",
  "presence_penalty",
  "frequency_penalty",
];

function sampling() {
  const filled = NUMBERS.filter((name) => byId(name).value !== "").map((name) => [name, Number(byId(name).value)]);
  const stops = byId("stop").value.split("\n").filter(Boolean);
  return { ...Object.fromEntries(filled), ...(stops.length ? { stop: stops } : {}) };
}

function showValue(name) {
  const output = byId(`o-${name}`);
  if (output) output.textContent = Number(byId(name).value).toFixed(2);
}

for (const name of [...NUMBERS, "stop"]) {
  const input = byId(name);
  input.value = localStorage.getItem(`rustinfer.${name}`) ?? input.defaultValue;
  showValue(name);
  input.addEventListener("input", () => {
    localStorage.setItem(`rustinfer.${name}`, input.value);
    showValue(name);
  });
}

byId("reset").addEventListener("click", () => {
  for (const name of [...NUMBERS, "stop"]) {
    localStorage.removeItem(`rustinfer.${name}`);
    byId(name).value = byId(name).defaultValue;
    showValue(name);
  }
  announce("Sampling controls are as they were at first");
});
byId("key").addEventListener("click", () => key.ask());
