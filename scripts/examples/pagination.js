// Reads all pages of a list: each answer names the next page, and the last one none.
const names = [];
let next = "/customers";
for (let page = 0; next && page < 100; page++) {
  const answer = await http.get(context.config["api.url"] + next, { params: { size: 2 } });
  const { items, next: following } = answer.raiseForStatus().data;
  names.push(...items.map((customer) => customer.name));
  next = following;
}
if (next) reject("the list has more than 100 pages", { code: "too-long" });
context.Data.payload.names = names;
setData(context.Data);
