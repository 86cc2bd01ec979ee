/* The trial of a flow: marks the button while it runs, shows the result, and hands the input of a
 * failed step to the page of its script.
 */

const keep = (key, text) => {
  try {
    localStorage.setItem(key, text);
  } catch {
    // Full or forbidden: the page of the script opens with the sample that it has.
  }
};

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (button?.name === "_try" && !event.defaultPrevented) {
    button.setAttribute("aria-busy", "true");
    button.lastChild.textContent = " Trying …";
  }
});

// A page that comes back from the browser's cache is no longer busy.
window.addEventListener("pageshow", () => {
  const button = document.querySelector("[name=_try][aria-busy]");
  if (button) {
    button.removeAttribute("aria-busy");
    button.lastChild.textContent = " Try without storing";
  }
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-bench]");
  if (link) {
    // The keys under which the page of a script keeps its last sample.
    const key = `asyncengine.bench.${link.dataset.bench}`;
    keep(`${key}.sample`, link.nextElementSibling.textContent);
    keep(`${key}.last`, link.dataset.last);
  }
});

window.addEventListener("load", () => document.getElementById("trying")?.scrollIntoView({ block: "start" }));
