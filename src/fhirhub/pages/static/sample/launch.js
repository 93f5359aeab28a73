// The record starts the app: ?iss=<FHIR base>&launch=<handle>
// https://hl7.org/fhir/smart-app-launch/app-launch.html#launch-app-ehr-launch

import { Trouble, begin } from "./oauth.js";

const given = new URLSearchParams(location.search);
const say = document.getElementById("say");
try {
  const [iss, launch] = [given.get("iss"), given.get("launch")];
  if (iss === null || launch === null) throw new Trouble("This page is opened by the record, with iss and launch in its address.");
  await begin(iss, launch);
} catch (error) {
  say.setAttribute("role", "alert");
  say.textContent = error instanceof Trouble ? error.message : "The server cannot be reached. Start the app again.";
}
