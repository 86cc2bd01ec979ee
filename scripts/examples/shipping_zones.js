// The rate of a parcel, by the zone of its postal code: a look-up in two reference tables.
const parcel = context.Data.payload;
const place = context.table("zip").get(parcel.zip);
if (place === undefined) {
  reject(`unknown postal code ${parcel.zip}`, { code: "unknown-zip" });
}
const cents = Math.round(Number(context.table("rates").get(place.zone).rate) * 100);
parcel.town = place.town;
parcel.price = ((cents * parcel.weight) / 100).toFixed(2);
setData(context.Data);
