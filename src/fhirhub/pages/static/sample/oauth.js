// The app's side of SMART App Launch 2.2: discovery, authorization with PKCE, tokens, and giving them back.
// https://hl7.org/fhir/smart-app-launch/app-launch.html

const CLIENT = "demo-app";
const REDIRECT = new URL("./", import.meta.url).href;
const SCOPES = "openid fhirUser online_access patient/Patient.rs patient/Observation.rs";
const KEPT = "vitals";
const TIMEOUT = 20_000;
/** Renew a token this many milliseconds before it ends. */
const EARLY = 30_000;

/** What a person can be told as it is. */
export class Trouble extends Error {}

/** Where the record is that this app came from; it works with no other one. */
export const RECORD = `${location.origin}/fhir`;

function text64(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

const random = () => text64(crypto.getRandomValues(new Uint8Array(32)));

async function configuration() {
  const answer = await fetch(`${RECORD}/.well-known/smart-configuration`, { credentials: "omit", signal: AbortSignal.timeout(TIMEOUT) });
  if (!answer.ok) throw new Trouble("The record does not say how to sign in to it. Is the server running?");
  return answer.json();
}

/** Send the browser to the authorization server. `iss`, `launch`: what the record started the app with, if it did. */
export async function begin(iss = RECORD, launch = null) {
  if (iss !== RECORD) throw new Trouble(`This app works with the record at ${RECORD} only.`);
  const { authorization_endpoint } = await configuration();
  const state = random(), verifier = random();
  sessionStorage.setItem(`${KEPT}-${state}`, verifier);
  const query = new URLSearchParams({
    response_type: "code", client_id: CLIENT, redirect_uri: REDIRECT, aud: RECORD, state,
    scope: `${launch === null ? "launch/patient" : "launch"} ${SCOPES}`,
    code_challenge: text64(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))),
    code_challenge_method: "S256",
  });
  if (launch !== null) query.set("launch", launch);
  location.assign(`${authorization_endpoint}?${query}`);
}

/** Take up the answer that the authorization server sent the browser back with; false when there is none. */
export async function arrived() {
  const given = new URLSearchParams(location.search);
  const state = given.get("state");
  if (state === null) return false;
  // A code is good once: neither the history nor a bookmark is to have it.
  history.replaceState(null, "", location.pathname);
  const verifier = sessionStorage.getItem(`${KEPT}-${state}`);
  sessionStorage.removeItem(`${KEPT}-${state}`);
  if (verifier === null) throw new Trouble("This answer is to a question that was not asked here. Connect again.");
  const { issuer } = await configuration();
  // RFC 9207: the answer is from the server that was asked.
  if (given.get("iss") !== issuer) throw new Trouble("This answer came from another server. Connect again.");
  if (given.has("error")) {
    throw new Trouble(given.get("error") === "access_denied" ? "Access was not allowed." : given.get("error_description") ?? given.get("error"));
  }
  await tokens({ grant_type: "authorization_code", code: given.get("code") ?? "", redirect_uri: REDIRECT, code_verifier: verifier });
  return true;
}

async function post(endpoint, fields) {
  const body = new URLSearchParams({ ...fields, client_id: CLIENT });
  return fetch(endpoint, { method: "POST", body, credentials: "omit", signal: AbortSignal.timeout(TIMEOUT) });
}

async function tokens(fields) {
  const { token_endpoint } = await configuration();
  const answer = await post(token_endpoint, fields);
  const body = await answer.json();
  if (!answer.ok) throw new Trouble(body.error_description ?? "The record gave no access. Connect again.");
  const before = connection() ?? {};
  // This tab's storage: gone with the tab, and out of reach of all others.
  sessionStorage.setItem(KEPT, JSON.stringify({
    access: body.access_token,
    refresh: body.refresh_token ?? before.refresh,
    until: Date.now() + body.expires_in * 1000,
    patient: body.patient ?? before.patient,
    banner: body.need_patient_banner ?? before.banner ?? true,
  }));
}

/** `{access, refresh, until, patient, banner}` of this tab; null when it is not connected. */
export function connection() {
  return JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
}

/** An access token that is good for a while yet. */
async function token() {
  const held = connection();
  if (held === null) throw new Trouble("This app is not connected.");
  if (Date.now() > held.until - EARLY && held.refresh) {
    await tokens({ grant_type: "refresh_token", refresh_token: held.refresh });
  }
  return connection().access;
}

/** GET `address`, below the record's base or a link that the record gave, as JSON. */
export async function get(address) {
  const url = new URL(address, `${RECORD}/`).href;
  if (!url.startsWith(`${RECORD}/`) && !url.startsWith(`${RECORD}?`)) throw new Trouble("The record linked to another server.");
  const headers = { Authorization: `Bearer ${await token()}`, Accept: "application/fhir+json" };
  const answer = await fetch(url, { headers, credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
  if (answer.status === 401) {
    forget();
    throw new Trouble("Access has ended. Connect again.");
  }
  const body = await answer.json();
  if (!answer.ok) throw new Trouble(body.issue?.[0]?.diagnostics ?? `The record answered ${answer.status}.`);
  return body;
}

function forget() {
  sessionStorage.removeItem(KEPT);
}

/** Give the access back (RFC 7009), whether or not the server can be told. */
export async function end() {
  const held = connection();
  forget();
  if (held === null) return;
  const { revocation_endpoint } = await configuration();
  await post(revocation_endpoint, { token: held.refresh ?? held.access });
}
