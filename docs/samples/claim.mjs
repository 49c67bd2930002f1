// A ticket, a claim, its result. Needs nothing but Node 18 or newer.
//
// COUPONS=http://localhost:8080 SHOP_KEY=shop.pem node claim.mjs USER COUPON
import { createPrivateKey, sign } from "node:crypto";
import { readFileSync } from "node:fs";

const { COUPONS } = process.env;
const key = createPrivateKey(readFileSync(process.env.SHOP_KEY));
const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

/** Your login signs it, for the user who is logged in. */
function ticket(userId) {
  const claims = {
    sub: String(userId),
    exp: Math.floor(Date.now() / 1000) + 300,
    iss: "https://login.example.com",
    aud: "coupons",
  };
  const signed = `${base64url({ alg: "RS256", typ: "JWT" })}.${base64url(claims)}`;
  return `${signed}.${sign("sha256", Buffer.from(signed), key).toString("base64url")}`;
}

/** The browser does the same: fetch, with the ticket that it got from your server. */
async function ask(method, path, token) {
  const headers = { Authorization: `Bearer ${token}`, "Accept-Language": "en" };
  const answer = await fetch(COUPONS + path, { method, headers, signal: AbortSignal.timeout(40_000) });
  return { status: answer.status, headers: answer.headers, body: await answer.json() };
}

/** The request's final status, or the refusal. */
async function claim(userId, couponId) {
  const path = `/api/coupons/${couponId}/issue?userId=${userId}`;
  let answer = await ask("POST", path, ticket(userId));
  while (answer.status === 503) { // nothing is lost, and nothing is claimed twice
    await sleep(Number(answer.headers.get("Retry-After") ?? 2));
    answer = await ask("POST", path, ticket(userId));
  }
  if (answer.status !== 202) return answer.body;
  const location = answer.headers.get("Location");
  let result = { status: "PENDING" };
  while (result.status === "PENDING") {
    await sleep(Math.min(5, Math.max(0.2, result.etaSeconds ?? 0)));
    result = (await ask("GET", location, ticket(userId))).body;
  }
  return result;
}

const [userId, couponId] = process.argv.slice(2);
const result = await claim(userId, couponId);
console.log(result.code ?? result.status, result.userCouponId ?? result.reason ?? "");
