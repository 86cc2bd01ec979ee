// Counts on by business days: no Saturday, no Sunday, none of the holidays that the message has.
const order = context.Data.payload;
const day = new Date(`${order.from}T00:00:00Z`);
for (let left = order.days; left > 0; ) {
  day.setUTCDate(day.getUTCDate() + 1);
  const isWeekend = day.getUTCDay() === 0 || day.getUTCDay() === 6;
  if (!isWeekend && !order.holidays.includes(day.toISOString().slice(0, 10))) left--;
}
order.due = day.toISOString().slice(0, 10);
setData(context.Data);
