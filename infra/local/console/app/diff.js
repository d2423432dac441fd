// What changed between two texts, by lines.

const MOST = 2_000_000;
const CONTEXT = 3;

/** [{ sign: " " | "+" | "-" | "…", text, old?, new? }], with far unchanged lines folded. */
export function diff(before, after) {
  const a = lines(before);
  const b = lines(after);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  const out = [];
  let oldLine = 0;
  let newLine = 0;
  const keep = (text) => out.push({ sign: " ", text, old: ++oldLine, new: ++newLine });
  const remove = (text) => out.push({ sign: "-", text, old: ++oldLine });
  const insert = (text) => out.push({ sign: "+", text, new: ++newLine });
  for (let i = 0; i < head; i += 1) keep(a[i]);
  middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail), keep, remove, insert);
  for (let i = a.length - tail; i < a.length; i += 1) keep(a[i]);
  return fold(out);
}

function lines(text) {
  if (!text) return [];
  const list = text.split("\n");
  if (list.at(-1) === "") list.pop();
  return list;
}

function middle(a, b, keep, remove, insert) {
  if (a.length * b.length > MOST) {
    a.forEach(remove);
    b.forEach(insert);
    return;
  }
  // The longest common subsequence, from behind.
  const width = b.length + 1;
  const table = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i * width + j] =
        a[i] === b[j]
          ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      keep(a[i]);
      i += 1;
      j += 1;
    } else if (i < a.length && (j >= b.length || table[(i + 1) * width + j] >= table[i * width + j + 1])) {
      remove(a[i]);
      i += 1;
    } else {
      insert(b[j]);
      j += 1;
    }
  }
}

function fold(all) {
  const near = new Uint8Array(all.length);
  all.forEach((line, at) => {
    if (line.sign === " ") return;
    for (let k = Math.max(0, at - CONTEXT); k <= Math.min(all.length - 1, at + CONTEXT); k += 1) near[k] = 1;
  });
  const out = [];
  let hidden = 0;
  const flush = () => {
    if (hidden) out.push({ sign: "…", text: `${hidden} unchanged ${hidden === 1 ? "line" : "lines"}` });
    hidden = 0;
  };
  all.forEach((line, at) => {
    if (near[at]) {
      flush();
      out.push(line);
    } else {
      hidden += 1;
    }
  });
  flush();
  return out;
}
