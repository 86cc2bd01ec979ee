/* JSON that can be folded, searched, copied and downloaded.

- `<details data-json-src="…">` loads its text from there when it is opened for the first time;
- `<div data-json-text>` shows the text of the `pre` in it.

Numbers are shown as they are written, whatever their length. All text goes into the page by
textContent. What is no JSON, or is nested very deep, is shown as text. It copies by copy.js.
*/
(() => {
  "use strict";

  const DEEPEST = 150;
  // The number of items of an array or object that are made at first.
  const ITEMS = 200;
  const TOKEN = /\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[[\]{},:])/y;

  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) {
      element.className = className;
    }
    if (text !== undefined) {
      element.textContent = text;
    }
    return element;
  };

  // --- reading: values are {kind, text} or {kind, items: [[key, value], …]} ---------------------

  const read = (text) => {
    TOKEN.lastIndex = 0;
    const next = () => {
      const match = TOKEN.exec(text);
      if (match === null) {
        throw new SyntaxError("no JSON");
      }
      return match[1];
    };
    const value = (token, depth) => {
      if (depth > DEEPEST) {
        throw new RangeError("too deep");
      }
      if (token === "[" || token === "{") {
        return { kind: token, items: items(token, depth) };
      }
      if ("]},:".includes(token)) {
        throw new SyntaxError("no JSON");
      }
      const first = token[0];
      const kind = first === '"' ? "string" : /[-\d]/.test(first) ? "number" : "word";
      return { kind, text: token };
    };
    const items = (open, depth) => {
      const close = open === "[" ? "]" : "}";
      const found = [];
      let token = next();
      while (token !== close) {
        let key = null;
        if (open === "{") {
          key = token;
          if (key[0] !== '"' || next() !== ":") {
            throw new SyntaxError("no JSON");
          }
          token = next();
        }
        found.push([key, value(token, depth + 1)]);
        token = next();
        if (token === ",") {
          token = next();
        } else if (token !== close) {
          throw new SyntaxError("no JSON");
        }
      }
      return found;
    };
    const whole = value(next(), 0);
    if (text.slice(TOKEN.lastIndex).trim() !== "") {
      throw new SyntaxError("no JSON");
    }
    return whole;
  };

  // --- showing ---------------------------------------------------------------------------------

  const line = (key, value, isLast) => {
    const comma = isLast ? "" : ",";
    const label = key === null ? [] : [make("span", "json-key", key), ": "];
    if (!value.items) {
      const item = make("li");
      item.append(...label, make("span", `json-${value.kind}`, value.text), comma);
      return item;
    }
    const item = make("li");
    item.append(node(label, value, comma));
    return item;
  };

  const fill = (list, items, from) => {
    const to = Math.min(from + ITEMS, items.length);
    for (let at = from; at < to; at += 1) {
      list.append(line(...items[at], at === items.length - 1));
    }
    if (to < items.length) {
      const more = make("button", "", `Show more of ${items.length.toLocaleString("en")}`);
      more.type = "button";
      more.addEventListener("click", () => {
        more.remove();
        fill(list, items, to);
      });
      list.append(more);
    }
  };

  const node = (label, value, comma) => {
    const close = value.kind === "[" ? "]" : "}";
    if (value.items.length === 0) {
      const empty = make("span");
      empty.append(...label, `${value.kind}${close}${comma}`);
      return empty;
    }
    const details = make("details");
    const summary = make("summary");
    const open = make("span", "json-open", value.kind);
    const noun = value.kind === "[" ? "items" : "keys";
    open.dataset.count = `${value.items.length} ${noun} ${close}`;
    summary.append(...label, open);
    const list = make("ul");
    details.append(summary, list, make("span", "", `${close}${comma}`));
    details.open = value.items.length <= ITEMS;
    const show = () => details.open && list.childElementCount === 0 && fill(list, value.items, 0);
    details.addEventListener("toggle", show);
    show();
    return details;
  };

  const view = (text) => {
    const block = make("div", "json");
    block.tabIndex = 0;
    block.setAttribute("role", "region");
    block.setAttribute("aria-label", "JSON");
    try {
      const value = read(text);
      block.append(value.items ? node([], value, "") : make("span", `json-${value.kind}`, value.text));
    } catch {
      block.textContent = text;
    }
    return block;
  };

  // --- searching -------------------------------------------------------------------------------

  const unmark = (block) => {
    for (const mark of block.querySelectorAll("mark")) {
      mark.replaceWith(mark.textContent);
    }
    block.normalize();
  };

  const search = (block, wanted) => {
    unmark(block);
    if (wanted === "") {
      return 0;
    }
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) {
      texts.push(walker.currentNode);
    }
    let count = 0;
    for (const node of texts) {
      let rest = node;
      for (;;) {
        const at = rest.data.toLowerCase().indexOf(wanted);
        if (at < 0) {
          break;
        }
        const hit = rest.splitText(at);
        rest = hit.splitText(wanted.length);
        const mark = make("mark", "", hit.data);
        hit.replaceWith(mark);
        count += 1;
        for (let outer = mark.closest("details"); outer && block.contains(outer); ) {
          outer.open = true;
          outer = outer.parentElement.closest("details");
        }
      }
    }
    block.querySelector("mark")?.scrollIntoView({ block: "nearest" });
    return count;
  };

  const bar = (block, text, download) => {
    const tools = make("div", "json-bar");
    const input = make("input");
    input.type = "search";
    input.placeholder = "Search";
    input.setAttribute("aria-label", "Search in this JSON");
    const found = make("span", "run-soft");
    found.setAttribute("role", "status");
    input.addEventListener("input", () => {
      const count = search(block, input.value.trim().toLowerCase());
      found.textContent = input.value.trim() === "" ? "" : `${count} found`;
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
      }
    });
    const fold = make("button", "", "Fold");
    fold.type = "button";
    fold.addEventListener("click", () => {
      const isFolded = fold.textContent === "Fold";
      for (const details of block.querySelectorAll(":scope > details details")) {
        details.open = !isFolded;
      }
      fold.textContent = isFolded ? "Unfold" : "Fold";
    });
    const copy = make("button", "", "Copy");
    copy.type = "button";
    copy.addEventListener("click", () => copyText(copy, text));
    tools.append(input, found, fold, copy);
    if (download) {
      const link = make("a", "text-link", "Download");
      link.href = download;
      tools.append(link);
    }
    return tools;
  };

  const copyText = async (button, text) => {
    const before = button.dataset.before || button.textContent;
    button.dataset.before = before;
    button.textContent = (await window.engineCopy(text)) ? "Copied" : "Not copied";
    setTimeout(() => {
      button.textContent = before;
    }, 1500);
  };

  // --- the page --------------------------------------------------------------------------------

  const load = async (details) => {
    if (details.dataset.jsonLoaded) {
      return;
    }
    details.dataset.jsonLoaded = "1";
    const place = details.querySelector(".run-body-text");
    const url = details.dataset.jsonSrc;
    let why = "It could not be loaded. Close and open it again.";
    try {
      const response = await fetch(url);
      if (window.engineSession?.loginOf(response.url)) {
        why = "Your session has ended: load the page again to log in.";
      }
      if (!response.ok || response.redirected) {
        throw new Error(String(response.status));
      }
      const text = await response.text();
      const block = view(text);
      place.replaceChildren(bar(block, text, `${url}?whole=1`), block);
      const note = response.headers.get("X-Shown");
      if (note) {
        place.append(make("p", "run-soft", note));
      }
    } catch {
      delete details.dataset.jsonLoaded;
      place.replaceChildren(make("p", "run-soft", why));
    }
  };

  const prepare = (root) => {
    for (const details of root.querySelectorAll("details[data-json-src]")) {
      if (details.dataset.jsonReady) {
        continue;
      }
      details.dataset.jsonReady = "1";
      details.addEventListener("toggle", () => details.open && load(details));
      if (details.open) {
        load(details);
      }
    }
    for (const part of root.querySelectorAll("[data-json-text]")) {
      const pre = part.querySelector("pre");
      if (part.dataset.jsonReady || pre === null) {
        continue;
      }
      part.dataset.jsonReady = "1";
      const block = view(pre.textContent);
      pre.replaceWith(bar(block, pre.textContent), block);
    }
    for (const button of root.querySelectorAll("[data-copy]")) {
      if (!button.dataset.copyReady) {
        button.dataset.copyReady = "1";
        button.addEventListener("click", () => copyText(button, button.dataset.copy));
      }
    }
  };

  // Attempts stay open or closed when the page refreshes itself.
  let opened = new Map();
  document.addEventListener("htmx:beforeSwap", () => {
    opened = new Map(
      [...document.querySelectorAll("details.run-attempts")].map((each) => [each.id, each.open]),
    );
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const [id, isOpen] of opened) {
      const details = document.getElementById(id);
      if (details) {
        details.open = isOpen;
      }
    }
    prepare(document);
  });

  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", () => prepare(document));
  } else {
    prepare(document);
  }
})();
