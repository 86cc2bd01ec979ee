/* A button with `data-copies="ID"` copies the text of that element, and says so in its `data-said`.
 * `engineCopy(text)` is for other scripts. */

(() => {
  "use strict";

  const byCommand = (text) => {
    const area = document.createElement("textarea");
    const focused = document.activeElement;
    area.value = text;
    area.readOnly = true;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    focused?.focus({ preventScroll: true });
    return isCopied;
  };

  /* Copy a text; return whether the browser has done so. */
  window.engineCopy = async (text) => {
    try {
      // Without TLS a browser has no navigator.clipboard.
      if (!navigator.clipboard) {
        return byCommand(text);
      }
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // The browser refused.
      return false;
    }
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copies]");
    if (!button) {
      return;
    }
    const said = button.querySelector("[data-said]");
    const before = button.dataset.before || said.textContent;
    button.dataset.before = before;
    const source = document.getElementById(button.dataset.copies);
    said.textContent = (await window.engineCopy(source.textContent)) ? "Copied" : "Not copied";
    setTimeout(() => {
      said.textContent = before;
    }, 2000);
  });
})();
