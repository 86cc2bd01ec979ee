// Moves times between zones: what a customer in New York sees of a deadline in Berlin.
const deadline = context.Data.payload;
const at = zoned.instant(deadline.local, deadline.zone);
deadline.utc = at.toISOString().replace(".000Z", "Z");
deadline.seen = zoned(at, deadline.customer).text;
setData(context.Data);
