// Text files that are dropped on the page, or pasted, become part of the message.
const LARGEST_FILE = 256 * 1024; // bytes

async function attach(files) {
  view("chat");
  const input = byId("input");
  for (const file of files) {
    const text = file.size > LARGEST_FILE ? null : await file.text();
    if (text === null) notice(`${file.name} is larger than ${LARGEST_FILE / 1024} KiB.`);
    else if (/[\0\ufffd]/.test(text)) notice(`${file.name} is no text.`);
    else {
      // Longer than any fence within it.
      const fence = "`".repeat(Math.max(3, ...(text.match(/`+/g) ?? []).map((run) => run.length + 1)));
      input.value += `${input.value && "\n\n"}${file.name}:\n${fence}\n${text.replace(/\n$/, "")}\n${fence}\n`;
    }
  }
  grow();
  focusInput();
}

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  attach(event.dataTransfer.files);
});
byId("input").addEventListener("paste", (event) => {
  if (!event.clipboardData.files.length) return;
  event.preventDefault();
  attach(event.clipboardData.files);
});
