// Masks what is personal before a message goes on: card numbers and mail addresses.
function masked(value) {
  if (typeof value === "string") {
    return value
      .replace(/\b(?:\d{4}[ -]?){3}(\d{4})\b/g, "… $1")
      .replace(/\b[\w.+-]+@([\w-]+\.[\w.]+)/g, "…@$1");
  }
  if (Array.isArray(value)) return value.map(masked);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, masked(each)]));
}
context.Data.payload = masked(context.Data.payload);
setData(context.Data);
