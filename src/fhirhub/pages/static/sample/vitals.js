// Vitals over time: the page. What comes from the record is text, and is shown as text.

import { draw } from "./chart.js";
import { RECORD, Trouble, arrived, begin, connection, end, get } from "./oauth.js";

const LOINC = "http://loinc.org";
const SYSTOLIC = "8480-6", DIASTOLIC = "8462-4";
/** LOINC code -> column, and the components that hold its values, if they are no value of its own. */
const VITALS = new Map([
  ["85354-9", { name: "Blood pressure", parts: [[SYSTOLIC, "systolic"], [DIASTOLIC, "diastolic"]] }],
  ["8867-4", { name: "Heart rate", parts: [[null, ""]] }],
  ["29463-7", { name: "Weight", parts: [[null, ""]] }],
]);
const YEARS = 2;
const MOST = 1000;

const at = (id) => document.getElementById(id);

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function coded(concept, codes) {
  return (concept?.coding ?? []).find((one) => one.system === LOINC && codes(one.code))?.code;
}

/** The values of an Observation, in the order of `parts`; undefined where it has none. */
function values(observation, parts) {
  return parts.map(([code]) => {
    const holder = code === null ? observation
      : observation.component?.find((one) => coded(one.code, (each) => each === code));
    return Number.isFinite(holder?.valueQuantity?.value) ? holder.valueQuantity : undefined;
  });
}

/** Observations of the two years up to the latest one, oldest first. */
async function observations(patient) {
  const query = new URLSearchParams({
    patient: `Patient/${patient}`, "status:not": "entered-in-error",
    code: [...VITALS.keys()].map((code) => `${LOINC}|${code}`).join(","),
  });
  const found = [];
  const latest = await get(`Observation?${query}&_sort=-date&_count=1`);
  const newest = latest.entry?.[0]?.resource.effectiveDateTime;
  if (!newest) return found;
  const since = new Date(newest);
  since.setFullYear(since.getFullYear() - YEARS);
  query.set("date", `ge${since.toISOString().slice(0, 10)}`);
  let next = `Observation?${query}&_sort=date&_count=200`;
  while (next && found.length < MOST) {
    const page = await get(next);
    found.push(...(page.entry ?? []).map((one) => one.resource).filter((one) => one.resourceType === "Observation"));
    next = page.link?.find((one) => one.relation === "next")?.url;
  }
  return found;
}

/** What the page shows: for each vital its lines, and for each moment a row of texts. */
function arranged(found) {
  const charts = new Map([...VITALS].map(([code, vital]) => [code, vital.parts.map(([, label]) => ({ label, unit: "", points: [] }))]));
  const rows = new Map();
  for (const one of found) {
    const code = coded(one.code, (each) => VITALS.has(each));
    const moment = new Date(one.effectiveDateTime ?? "");
    if (!code || Number.isNaN(moment.getTime())) continue;
    const measured = values(one, VITALS.get(code).parts);
    measured.forEach((quantity, index) => {
      const line = charts.get(code)[index];
      line.unit ||= quantity?.unit ?? "";
      // A line has one unit; what was measured in another one is in the table.
      if (quantity && quantity.unit === line.unit) line.points.push({ at: moment, value: quantity.value });
    });
    const shown = measured.filter(Boolean);
    if (!shown.length) continue;
    if (!rows.has(moment.getTime())) rows.set(moment.getTime(), new Map());
    rows.get(moment.getTime()).set(code, `${shown.map((each) => each.value).join("/")} ${shown[0].unit ?? ""}`);
  }
  return { charts, rows: [...rows].sort(([one], [other]) => other - one) };
}

function tell(rows) {
  const body = at("rows");
  body.replaceChildren();
  for (const [moment, cells] of rows) {
    const row = element("tr");
    const head = element("th", new Date(moment).toLocaleDateString(undefined, { dateStyle: "medium" }));
    head.scope = "row";
    row.append(head, ...[...VITALS.keys()].map((code) => element("td", cells.get(code) ?? "–")));
    body.append(row);
  }
}

function banner(patient) {
  const name = patient.name?.find((one) => one.use === "official") ?? patient.name?.[0] ?? {};
  const called = name.text ?? [...(name.given ?? []), name.family].filter(Boolean).join(" ");
  at("banner").textContent = [called || `Patient ${patient.id}`, patient.birthDate && `born ${patient.birthDate}`, patient.gender]
    .filter(Boolean).join(" · ");
}

let drawn = [];
const redraw = () => drawn.forEach(([code, lines]) => draw(at(`chart-${code}`), VITALS.get(code).name, lines));

async function show() {
  const { patient, banner: needed } = connection();
  if (!patient) throw new Trouble("The record named no patient. Connect again, and choose one.");
  at("say").textContent = "Reading …";
  at("banner").hidden = !needed;
  if (needed) banner(await get(`Patient/${encodeURIComponent(patient)}`));
  const { charts, rows } = arranged(await observations(patient));
  at("start").hidden = true;
  at("record").hidden = false;
  tell(rows);
  drawn = [...charts];
  redraw();
  at("say").textContent = rows.length ? `${rows.length} days with measurements.` : "Nothing was measured in these two years.";
}

/** Do `work`; whatever goes wrong is told, and what can be done then is shown. */
async function attempt(work) {
  at("trouble").hidden = true;
  try {
    await work();
  } catch (error) {
    at("say").textContent = "";
    at("trouble").hidden = false;
    at("trouble").textContent = error instanceof Trouble ? error.message : "The server cannot be reached. Try again.";
    if (!(error instanceof Trouble)) console.warn(error);
  }
  const connected = connection() !== null;
  at("start").hidden = connected;
  at("record").hidden = !connected;
}

at("connect").addEventListener("click", () => attempt(begin));
at("again").addEventListener("click", () => attempt(show));
at("leave").addEventListener("click", () => attempt(async () => {
  await end();
  for (const one of document.querySelectorAll("#rows, #banner, .chart")) one.replaceChildren();
  drawn = [];
  at("say").textContent = "Disconnected: the access is given back, and no token of it works any more.";
}));
new ResizeObserver(redraw).observe(at("charts"));
at("base").textContent = RECORD;
attempt(async () => {
  if ((await arrived()) || connection() !== null) await show();
});
