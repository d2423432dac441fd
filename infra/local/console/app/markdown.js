// Markdown as nodes. What an agent says is hostile: it becomes text and a fixed list of elements,
// never HTML. Raw HTML shows as it was written, pictures are links, links lead to http(s) and mail.
//
// marked is quadratic on some texts and recurses into nesting, so it gets little at a time and a
// budget; what goes over it shows as plain text.

import { Lexer } from "../vendor/marked/marked.esm.js";
import { Component, h, html } from "./ui.js";

const LONGEST = 32_000;
const LONGEST_PARAGRAPH = 6_000;
const BUDGET = 40;
const DEEPEST = 16;

function tokens(text) {
  const started = performance.now();
  const lexer = new Lexer({ gfm: true });
  const blocks = lexer.blockTokens(text.replace(/\r\n?/g, "\n"), lexer.tokens);
  for (const { src, tokens } of lexer.inlineQueue) {
    if (src.length > LONGEST_PARAGRAPH || performance.now() - started > BUDGET) {
      tokens.push({ type: "text", raw: src, text: src });
    } else {
      lexer.inlineTokens(src, tokens);
    }
  }
  lexer.inlineQueue = [];
  return { blocks, slow: performance.now() - started > BUDGET };
}

function safe(href) {
  try {
    const url = new URL(href);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

const entities = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

function unescape(text) {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w{2,4}));/gi, (all, decimal, hex, name) => {
    if (name) return entities[name] ?? all;
    const point = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : all;
  });
}

function link(href, children) {
  const to = safe(href);
  if (!to) return h("span", { title: href }, children);
  return h("a", { href: to, target: "_blank", rel: "noopener noreferrer nofollow" }, children);
}

function all(list, depth) {
  return (list ?? []).map((token) => one(token, depth + 1));
}

function one(token, depth) {
  if (depth > DEEPEST) return token.raw ?? "";
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      // The page has its own headings; those of a message are below them.
      return h(`h${Math.min(6, token.depth + 2)}`, null, all(token.tokens, depth));
    case "paragraph":
      return h("p", null, all(token.tokens, depth));
    case "blockquote":
      return h("blockquote", null, all(token.tokens, depth));
    case "code":
      return h("pre", { tabIndex: 0 }, h("code", null, token.text));
    case "hr":
      return h("hr");
    case "list":
      return h(
        token.ordered ? "ol" : "ul",
        token.ordered && Number.isSafeInteger(token.start) ? { start: token.start } : null,
        token.items.map((item) => h("li", null, all(item.tokens, depth))),
      );
    case "checkbox":
      return h("input", { type: "checkbox", checked: token.checked, disabled: true, "aria-label": token.checked ? "done" : "open" });
    case "table":
      return h(
        "div",
        { class: "table", tabIndex: 0 },
        h(
          "table",
          null,
          h("thead", null, h("tr", null, token.header.map((cell) => cellOf("th", cell, depth)))),
          h("tbody", null, token.rows.map((row) => h("tr", null, row.map((cell) => cellOf("td", cell, depth))))),
        ),
      );
    case "strong":
    case "em":
    case "del":
      return h(token.type, null, all(token.tokens, depth));
    case "codespan":
      return h("code", null, token.text);
    case "br":
      return h("br");
    case "link":
      return link(token.href, all(token.tokens, depth));
    case "image":
      return link(token.href, `🖼 ${token.text || token.href}`);
    case "text":
      return token.tokens ? all(token.tokens, depth) : unescape(token.text);
    case "escape":
      return token.text;
    default:
      return token.raw ?? "";
  }
}

function cellOf(tag, cell, depth) {
  const align = ["center", "right"].includes(cell.align) ? cell.align : null;
  return h(tag, align && { class: align }, all(cell.tokens, depth));
}

/** `text` as markdown; as plain text once it turned out to be too much. */
export class Markdown extends Component {
  shouldComponentUpdate(next) {
    return next.text !== this.props.text;
  }

  render({ text }) {
    let nodes = null;
    if (!this.plain && text.length <= LONGEST) {
      try {
        const { blocks, slow } = tokens(text);
        this.plain = slow;
        nodes = all(blocks, 0);
      } catch {
        this.plain = true;
      }
    }
    return nodes ? html`<div class="md">${nodes}</div>` : html`<div class="md plain">${text}</div>`;
  }
}
