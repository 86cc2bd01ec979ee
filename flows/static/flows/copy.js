/* A button with `data-copies="ID"` copies the text of that element, and says so in its `data-said`. */

(() => {
  "use strict";

  const copied = async (source) => {
    // Without TLS a browser has no navigator.clipboard.
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(source.textContent);
      return true;
    }
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return document.execCommand("copy");
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copies]");
    if (!button) {
      return;
    }
    const said = button.querySelector("[data-said]");
    const before = button.dataset.before || said.textContent;
    button.dataset.before = before;
    let isCopied = false;
    try {
      isCopied = await copied(document.getElementById(button.dataset.copies));
    } catch {
      // The browser refused.
    }
    said.textContent = isCopied ? "Copied" : "Not copied";
    setTimeout(() => {
      said.textContent = before;
    }, 2000);
  });
})();
