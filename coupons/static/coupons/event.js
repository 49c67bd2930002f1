// The event page and the list of today's events: asks for figures newer than those it has, and shows them.
"use strict";
(function () {
  const config = JSON.parse(document.getElementById("event-config").textContent);
  const { labels, codes, phases, health, actions } = config.words;
  const locale = config.locale.startsWith("en") ? "en" : "ko";
  const whole = new Intl.NumberFormat(locale);
  const short = new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 });
  // 2026-11-27 09:27:13 in both languages, in the browser's zone, which the page names at its end.
  const iso = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
  const moment = { format: (ms) => iso.format(ms) };
  const clock = { format: (ms) => iso.format(ms).slice(11) };
  const COLORS = ["#1a7f37", "#c1121f", "#b35900", "#6f42c1", "#0b5fbf", "#00796b", "#795548", "#607d8b"];
  // As the text around a chart is, in light and in dark.
  const LINES = { stroke: () => getComputedStyle(document.body).color, grid: { stroke: "#8883", width: 1 }, ticks: { stroke: "#8883", width: 1 } };
  // The server answers when there are newer figures, once a second; what fails, or comes at once, is asked for later.
  const EVERY_MS = 1000, SHORTEST_MS = 500, LONGEST_MS = 8000, PASS_EVERY_MS = 60000, STALE_S = 5;
  const charts = new Map();
  let token = config.pass, newest = null, ahead = 0;  // ahead: the server's clock minus ours, in ms

  const at = (id) => document.getElementById(id);
  const fill = (text, names) => text.replace(/\{(\w+)\}/g, (_, name) => names[name]);
  const count = (n) => (n === null || n === undefined ? labels.unknown : whole.format(n));
  const seconds = (s) => (s === null || s === undefined ? "–" : s < 1 ? short.format(s * 1000) + " ms" : short.format(s) + " s");
  const word = (code) => codes[code] || code;

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function notice(text) {
    const place = at("notice");
    place.hidden = !text;
    if (place.textContent !== text) place.textContent = text;
  }

  function table(id, rows, head) {
    const body = element("tbody");
    for (const row of head ? [head, ...rows] : rows) {
      const line = element("tr");
      for (const cell of row) {
        const isNumber = cell !== null && typeof cell === "object";
        line.append(element(row === head ? "th" : "td", isNumber ? cell.number : cell, isNumber ? "number" : ""));
      }
      body.append(line);
    }
    if (!rows.length) body.append(element("tr"));
    if (!rows.length) body.lastChild.append(element("td", labels.none));
    at(id).replaceChildren(body);
  }

  function numbers(told, isOver) {
    const took = isOver ? told.took : told.recent;
    const shown = [
      ["accepted", count(told.accepted)], ["issued", count(told.issued)], ["left", count(told.left)],
      ["waiting", count(told.waiting)], ["claimsRate", short.format(told.recent.claims)],
      ["issuedRate", short.format(told.recent.issued)], ["p50", seconds(took.p50)], ["p99", seconds(took.p99)],
    ];
    at("numbers").replaceChildren(...shown.map(([name, value]) => {
      const box = element("div", undefined, "event-number");
      box.dataset.name = name;
      box.append(element("b", value), element("span", labels[name]));
      return box;
    }));
  }

  function ticks(_, values) {
    return values.map((value) => (value % 60 ? clock.format(value * 1000) : clock.format(value * 1000).slice(0, 5)));
  }

  function chart(place, name, title, columns, series) {
    const xs = columns.since === undefined ? [] : series[0].values.map((_, n) => columns.since + n * columns.step);
    const data = [xs, ...series.map((each) => each.values)];
    const key = place + name, shape = series.map((each) => each.label).join("|");
    let kept = charts.get(key);
    if (kept && kept.shape === shape) {
      kept.plot.setData(data);
      return;
    }
    let box = kept && kept.box;
    if (!box) {
      box = element("div", undefined, "event-chart");
      box.dataset.chart = key;
      at(place).append(box);
    }
    box.replaceChildren(element("h3", title));
    const plot = new uPlot({
      width: Math.max(240, box.clientWidth - 14), height: 180,
      scales: { y: { range: (_, low, high) => [0, Math.max(name === "took" ? 0.01 : 1, high * 1.1)] } },
      axes: [
        { ...LINES, values: ticks },
        { ...LINES, size: 60, values: (_, ticks) => ticks.map((tick) => short.format(tick)) },
      ],
      series: [
        { label: labels.when, value: (_, x) => (x === null ? "–" : clock.format(x * 1000)) },
        ...series.map((each, n) => ({
          label: each.label, stroke: COLORS[n % COLORS.length], width: 1.5, points: { show: name === "took", size: 4 },
          value: (_, y) => (y === null || y === undefined ? "–" : short.format(y)),
        })),
      ],
    }, data, box);
    charts.set(key, { plot, box, shape });
  }

  function drawn(place, columns) {
    if (!columns) return;
    const names = Object.keys(columns.answers);
    const order = ["ACCEPTED", ...names.filter((name) => name !== "ACCEPTED")].filter((name) => names.includes(name));
    if (order.length) {
      chart(place, "claims", labels.claimsChart, columns, order.map((name) => ({ label: word(name), values: columns.answers[name] })));
    }
    chart(place, "issued", labels.issuedChart, columns, [{ label: word("ISSUED"), values: columns.issued }]);
    chart(place, "waiting", labels.waitingChart, columns, [{ label: labels.waiting, values: columns.waiting }]);
    chart(place, "took", labels.tookChart, columns, [{ label: "p50", values: columns.p50 }, { label: "p99", values: columns.p99 }]);
  }

  function span(coupon) {
    const ends = [coupon.opensAt, coupon.closesAt];
    return ends.some(Boolean) ? ends.map((each) => (each ? moment.format(each) : "")).join(" – ") : "";
  }

  function countdown() {
    if (!newest || !newest.coupon) return;
    const { phase, opensAt } = newest.coupon, left = opensAt ? opensAt - (Date.now() + ahead) : 0;
    const place = at("countdown");
    place.hidden = phase !== "PLANNED" || left <= 0;
    if (place.hidden) return;
    const all = Math.ceil(left / 1000), two = (n) => String(n).padStart(2, "0");
    const days = Math.floor(all / 86400);
    place.textContent = `${labels.opensIn} ${days ? days + "d " : ""}${two(Math.floor(all / 3600) % 24)}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`;
  }

  const POSSIBLE = {
    CLOSED: ["OPEN"], PLANNED: ["OPEN", "PAUSE_CLAIMS", "STOP_AT_ONCE"], OPEN: ["PAUSE_CLAIMS", "STOP_CLAIMS", "STOP_AT_ONCE"],
    PAUSED: ["RESUME_CLAIMS", "STOP_CLAIMS", "STOP_AT_ONCE"], ENDED: ["OPEN", "STOP_AT_ONCE"],
  };

  // Deciding that somebody paused is no fault, and still the first thing to know.
  function deferring(coupon) {
    const place = at("deferring"), text = coupon.decidingPausedAt ? labels.decidingPaused : labels.decidingResumed;
    place.hidden = !coupon.decidingPausedAt && !coupon.deferred;
    place.textContent = fill(text, {
      who: coupon.decidingPausedBy || labels.somebody, since: moment.format(coupon.decidingPausedAt || 0), count: count(coupon.deferred),
    });
  }

  function showEvent(told) {
    const { coupon } = told;
    const phase = at("phase");
    phase.textContent = phases[coupon.phase];
    phase.dataset.phase = coupon.phase;
    at("window").textContent = span(coupon);
    const isOver = coupon.phase === "ENDED" || coupon.phase === "CLOSED" || (told.left === 0 && !told.waiting);
    const claims = told.accepted + Object.values(told.refused).reduce((sum, n) => sum + n, 0);
    at("report").hidden = !isOver || !claims;
    at("report").textContent = labels.report + ": " + fill(labels.reportLine, {
      accepted: count(told.accepted), claims: count(claims), issued: count(told.issued), left: count(told.left), waiting: count(told.waiting),
    });
    numbers(told, isOver);
    const ofDeciding = coupon.decidingPausedAt ? "RESUME_DECIDING" : "PAUSE_DECIDING";
    for (const each of document.querySelectorAll("[data-action]")) {
      const isAlways = each.dataset.action.startsWith("CHANGE_") || each.dataset.action === ofDeciding;
      each.classList.toggle("event-off", !isAlways && !POSSIBLE[coupon.phase].includes(each.dataset.action));
    }
    deferring(coupon);
    table("refused", Object.entries(told.refused).map(([code, n]) => [word(code), { number: count(n) }]));
    table("rejected", Object.entries(told.rejected).map(([code, n]) => [word(code), { number: count(n) }]));
    table("partitions", told.partitions.map((each) => [{ number: each.partition }, { number: count(each.lag) }, moment.format(each.decidedAt)]),
      [{ number: labels.partition }, { number: labels.lag }, labels.decidedAt]);
    table("winners", told.winners.map((each) => [{ number: count(each.rank) }, `${each.name} (${each.userId})`, moment.format(each.at)]),
      [{ number: labels.rank }, labels.user, labels.when]);
    table("steps", told.steps.map((each) => [moment.format(each.at), actions[each.action] || each.action, `${each.who}: ${each.why}`]));
    at("health").replaceChildren(...told.health.map((each) => {
      const line = element("li", fill(health[each.part + "." + each.word] || each.part, { number: count(each.number) }));
      line.dataset.word = each.word;
      return line;
    }));
    drawn("minutes", told.minutes);
    drawn("whole", told.whole);
  }

  function spark(values) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 120 30");
    svg.setAttribute("preserveAspectRatio", "none");
    const top = Math.max(1, ...values), line = document.createElementNS(svg.namespaceURI, "polyline");
    line.setAttribute("points", values.map((value, n) => `${n},${29 - (28 * value) / top}`).join(" "));
    line.setAttribute("fill", "none");
    line.setAttribute("stroke", "currentColor");
    line.setAttribute("vector-effect", "non-scaling-stroke");
    svg.append(line);
    return svg;
  }

  function showToday(told) {
    at("events").replaceChildren(...told.events.map((each) => {
      const card = element("a", undefined, "event-card"), state = element("span", phases[each.coupon.phase], "event-phase");
      card.href = config.eventUrl.replace("{id}", each.coupon.id);
      state.dataset.phase = each.coupon.phase;
      card.append(element("h3", `${each.coupon.description} (${each.coupon.id})`), state);
      if (each.coupon.isRehearsal) card.append(" ", element("span", labels.rehearsal, "event-phase event-rehearsal"));
      if (each.coupon.decidingPausedAt) card.append(" ", element("span", labels.decidingPausedShort, "event-phase event-rehearsal"));
      card.append(element("p", span(each.coupon), "event-line"));
      card.append(element("p", ["accepted", "issued", "left", "waiting"].map((name) => `${labels[name]} ${count(each[name])}`).join(" · "), "event-line"));
      card.append(element("p", `${labels.claimsRate} ${short.format(each.recent.claims)} · ${labels.issuedRate} ${short.format(each.recent.issued)}`, "event-line"));
      card.append(spark(each.spark));
      return card;
    }));
    if (!told.events.length) notice(labels.noEvents);
  }

  function show(told) {
    newest = told;
    ahead = told.at - Date.now();
    notice("");
    (at("today") ? showToday : showEvent)(told);
    document.body.dataset.shownAt = told.at;
  }

  async function renew() {
    const answer = await fetch(config.passUrl, { headers: { Accept: "application/json" }, redirect: "manual" });
    if (!answer.ok) throw new Error("logged out");
    token = (await answer.json()).pass;
  }

  let trouble = "";  // why no figures come, where we know
  function learn(error) {
    if (error.message === "logged out") trouble = labels.loggedOut;
  }

  async function ask() {
    const asked = `${config.snapshotUrl}?pass=${encodeURIComponent(token)}&after=${newest ? newest.at : 0}`;
    const answer = await fetch(asked, { cache: "no-store", signal: AbortSignal.timeout(LONGEST_MS) });
    if (answer.status === 403) {
      await renew();
      return;
    }
    const told = await answer.json();
    if (told.gone) trouble = labels.gone;
    // Another worker may still have an older one.
    else if (!told.error && (!newest || told.at > newest.at)) {
      trouble = "";
      show(told);
    }
  }

  let staleSince = performance.now(), seenAt = null;
  async function tick() {
    if (document.hidden) return;
    try {
      await ask();
    } catch (error) {
      learn(error);
    }
  }

  function tellTrouble() {
    if (document.hidden) return;
    if (newest && newest.at !== seenAt) {
      seenAt = newest.at;
      staleSince = performance.now();
    }
    const age = Math.round((performance.now() - staleSince) / 1000);
    if (trouble) notice(trouble);
    else if (newest && age > STALE_S) notice(fill(labels.stale, { seconds: whole.format(age) }));
  }

  async function run() {
    for (;;) {
      const began = performance.now(), before = newest;
      await tick();
      const every = newest === before ? EVERY_MS : SHORTEST_MS;
      await new Promise((done) => setTimeout(done, Math.max(10, every - (performance.now() - began))));
    }
  }

  at("zone").textContent = fill(labels.zone, { zone: Intl.DateTimeFormat().resolvedOptions().timeZone });
  window.addEventListener("resize", () => {
    for (const { plot, box } of charts.values()) plot.setSize({ width: Math.max(240, box.clientWidth - 14), height: 180 });
  });
  setInterval(countdown, 250);
  setInterval(tellTrouble, 1000);
  setInterval(() => renew().catch(learn), PASS_EVERY_MS);
  run();
})();
