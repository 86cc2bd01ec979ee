// Reads a CSV text and adds up its amounts by customer, in whole cents.
const [head, ...rows] = context.Data.payload.csv.trim().split(/\r?\n/).map((line) => line.split(";"));
const [who, what] = [head.indexOf("customer"), head.indexOf("amount")];
const cents = {};
rows.forEach((row, index) => {
  const found = /^([\d.]+),(\d\d)$/.exec(row[what] ?? "");
  if (!found) reject(`line ${index + 2} has no amount`, { code: "csv" });
  const amount = BigInt(found[1].replaceAll(".", "") + found[2]);
  cents[row[who]] = (cents[row[who]] ?? 0n) + amount;
});
const written = (amount) => `${amount / 100n}.${String(amount % 100n).padStart(2, "0")}`;
context.Data.payload = {
  totals: Object.fromEntries(Object.keys(cents).sort().map((name) => [name, written(cents[name])])),
};
setData(context.Data);
