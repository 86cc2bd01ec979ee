/* Times in the zone of the browser.

The server writes `<time datetime="…" title="… UTC">… UTC</time>`. This module writes its text anew:
"3 min ago" within the last hour, else the local time. With `data-style="exact"` it is the local time
always, with "clock" it has no day, with "precise" milliseconds instead. With "next", of what is to come, it is "in 3 min" within the next
hour, and "due" once the time has come. The title keeps the time in UTC.

Filters of a list take times in the zone of the browser, show those of their address in it, say so, and send
its name beside them.
*/
(() => {
  "use strict";

  const TIMES = "time[datetime]";
  const HOUR_MS = 3_600_000;

  const two = (number) => String(number).padStart(2, "0");
  const clock = (at) => [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  const day = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;

  const ago = (at, now) => {
    const seconds = Math.floor((now - at) / 1000);
    // The clock of the browser may be some seconds late.
    if (seconds < 5) {
      return "just now";
    }
    return seconds < 60 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ago`;
  };

  const until = (at, now) => {
    const seconds = Math.ceil((at - now) / 1000);
    if (seconds <= 0) {
      return "due";
    }
    return seconds < 60 ? `in ${seconds} s` : `in ${Math.floor(seconds / 60)} min`;
  };

  const text = (at, style, now) => {
    if (style === "clock") {
      return clock(at);
    }
    if (style === "precise") {
      return `${clock(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
    }
    if (style === "next" && at - now < HOUR_MS) {
      return until(at, now);
    }
    const isRecent = now - at < HOUR_MS && at - now < 5000;
    if (style !== "exact" && isRecent) {
      return ago(at, now);
    }
    return `${day(at)} ${clock(at)}`;
  };

  const write = () => {
    const now = new Date();
    for (const each of document.querySelectorAll(TIMES)) {
      const at = new Date(each.getAttribute("datetime"));
      if (!Number.isNaN(at.getTime())) {
        const written = text(at, each.dataset.style, now);
        if (each.textContent !== written) {
          each.textContent = written;
        }
      }
    }
  };

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  const addZone = ({ target, formData }) => {
    for (const [name, value] of [...formData]) {
      const field = /^(.+)_(?:from|to)_0$/.exec(name)?.[1];
      if (field && value && target.elements[name].type !== "hidden") {
        formData.set(`${field}_zone`, zone);
      }
    }
  };

  const writeFilter = (note) => {
    if (note.dataset.zoneOfTimes !== zone) {
      for (const date of note.parentElement.querySelectorAll("[data-at]")) {
        const at = new Date(date.dataset.at);
        if (!Number.isNaN(at.getTime())) {
          date.value = day(at);
          date.form.elements[date.name.replace(/0$/, "1")].value = clock(at);
        }
      }
    }
    note.textContent = `Times are in ${zone}.`;
  };

  document.addEventListener("formdata", addZone);
  document.addEventListener("DOMContentLoaded", () => {
    if (document.getElementById("filter-form")) {
      // Django would warn that the browser's zone is not the server's.
      delete document.body.dataset.adminUtcOffset;
    }
    document.querySelectorAll("[data-zone-of-times]").forEach(writeFilter);
  });
  document.addEventListener("DOMContentLoaded", write);
  document.addEventListener("htmx:afterSwap", write);
  // "3 min ago" grows old.
  setInterval(() => {
    if (!document.hidden) {
      write();
    }
  }, 10_000);
})();
