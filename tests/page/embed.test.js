// A task's log on a page of another site, which has a strict policy of its own.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { GuardedServer, jwt } from "./door.js";
import { row, rowText, someLines, startBrowser, until } from "./harness.js";

let server;
let browser;
let site;
before(async () => {
  // Another host: to the browser it is another site, whose frames get no cookie of the server.
  site = await startSite("localhost");
  server = await GuardedServer.start(process.env.TASKTAIL_BIN, ["--frame-ancestors", site.url, "--auth-failures-max", "1000"]);
  browser = await startBrowser();
});
after(async () => {
  await browser?.stop();
  await server?.stop();
  await site?.stop();
  assert.deepEqual(browser.errors, [], "no page had a script error");
});

/** A site whose page embeds what `site.body` holds. */
async function startSite(host) {
  const site = { body: "", renewed: 0, requests: [] };
  const http = createServer((request, response) => {
    site.requests.push(request.url);
    if (request.url === "/share") {
      site.renewed += 1;
      response.setHeader("content-type", "application/json");
      return response.end(JSON.stringify({ share: site.share }));
    }
    const policy = `default-src 'none'; connect-src 'self'; script-src ${server.url}; frame-src ${server.url}`;
    response.writeHead(200, { "content-type": "text/html", "content-security-policy": policy });
    return response.end(`<!doctype html><html lang="en"><title>site</title>${site.head ?? ""}<h1>Build</h1>${site.body}</html>`);
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  site.url = `http://${host}:${http.address().port}`;
  site.stop = () => new Promise((resolve) => {
    http.close(resolve);
    http.closeAllConnections();
  });
  return site;
}

const shareOf = (url) => new URL(url).hash.slice("#share=".length);
const seconds = () => Math.floor(Date.now() / 1000);
const element = (task, attributes) =>
  `<script src="${server.url}/assets/embed.js"></script><tasktail-log server="${server.url}" task="${task}" ${attributes}></tasktail-log>`;

async function open(options) {
  const page = await browser.newPage(options);
  page.sent = [];
  page.on("request", (request) => page.sent.push(request));
  await page.goto(`${site.url}/`);
  return page;
}

/** Returns the frame with the log. */
async function frameOf(page) {
  const handle = await page.waitForSelector("tasktail-log iframe");
  return handle.contentFrame();
}

const untilText = (frame, selector, part) =>
  frame.waitForFunction(([s, p]) => document.querySelector(s)?.textContent.includes(p), [selector, part], { polling: 20 });
const untilRow = (frame, n) => frame.waitForSelector(`.row[data-n="${n}"]`);

test("a live log by a share link, to its end", async () => {
  await server.append("shown", someLines(50));
  const share = shareOf(await server.share("shown"));
  site.body = element("shown", `share="${share}"`);
  const page = await open();
  const frame = await frameOf(page);
  await untilRow(frame, 50);
  await server.append("shown", [{ line: "\u001b[31mred\u001b[0m <b>markup</b>", stream: "stderr" }]);
  await untilRow(frame, 51);
  assert.equal(await rowText(frame, 51).textContent(), "red <b>markup</b>");
  assert.match(await row(frame, 51).getAttribute("class"), /\bstderr\b/);
  await until(page, () => document.querySelector("tasktail-log").dataset.state === "live");
  await server.end("shown", 3);
  await untilText(frame, "#state", "exit 3");
  await until(page, () => document.querySelector("tasktail-log").dataset.state === "ended");
  for (const hidden of ["nav", "#download", "#share-open", "#help-open"]) {
    assert.equal(await frame.locator(hidden).first().isVisible(), false, hidden);
  }
  const full = await frame.locator("#embed-open").getAttribute("href");
  assert.equal(full, `/tasks/shown#share=${share}`);
  for (const request of page.sent) {
    assert.ok(!request.url().includes(share), `the share is in the address ${request.url()}`);
    assert.ok(!(request.headers().referer ?? "").includes(share), "the share is in a Referer");
  }
  assert.ok(!frame.url().includes(share));
  assert.deepEqual(await page.context().cookies(), [], "no cookie is needed");
  await page.context().close();
  const later = await open();
  await untilText(await frameOf(later), "#state", "exit 3");
  await later.context().close();
});

test("a JWT of the site, and a new one when it has expired", async () => {
  await server.append("signed", someLines(5));
  const ticket = (life) => jwt({ task: "signed", exp: seconds() + life });
  site.share = ticket(600);
  site.body = element("signed", `share="${ticket(4)}" renew="/share"`);
  const before = site.renewed;
  const page = await open();
  const frame = await frameOf(page);
  await untilRow(frame, 5);
  const deadline = Date.now() + 20_000;
  while (site.renewed === before && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(site.renewed > before, "the site was asked for a new share");
  await server.append("signed", someLines(1, 6));
  await untilRow(frame, 6);
  assert.equal(await frame.locator(".row[data-n]").count(), 6);
  await page.context().close();
});

test("an element without a share asks its site for one", async () => {
  await server.append("asked", someLines(3));
  site.share = jwt({ task: "asked", exp: seconds() + 600 });
  site.body = element("asked", 'renew="/share"');
  const page = await open();
  await untilRow(await frameOf(page), 3);
  await page.context().close();
});

test("a share of another task, or none, shows nothing", async () => {
  await server.append("hidden", someLines(3));
  await server.append("other", someLines(3));
  for (const share of [shareOf(await server.share("other")), ""]) {
    site.body = element("hidden", `share="${share}"`);
    const page = await open();
    const frame = await frameOf(page);
    await untilText(frame, "#notice", "Not readable");
    assert.equal(await frame.locator(".row[data-n]").count(), 0);
    assert.equal(await frame.locator("#notice a.button").count() === 0 || !(await frame.locator("#notice a.button").isVisible()), true);
    await page.context().close();
  }
});

test("the colours follow the page", async () => {
  await server.append("colours", someLines(3));
  const share = shareOf(await server.share("colours"));
  const background = async (colorScheme) => {
    site.body = element("colours", `share="${share}"`);
    const page = await open({ colorScheme });
    const frame = await frameOf(page);
    await untilRow(frame, 3);
    const colour = await frame.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--bg"));
    await page.context().close();
    return colour;
  };
  site.head = '<meta name="color-scheme" content="light dark">';
  const [light, dark] = [await background("light"), await background("dark")];
  assert.notEqual(light, dark);
  site.head = "";
});

test("a theme of the element's own, until it is removed", async () => {
  await server.append("themed", someLines(3));
  const share = shareOf(await server.share("themed"));
  site.head = '<meta name="color-scheme" content="light dark">';
  site.body = element("themed", `share="${share}" theme="dark"`);
  const page = await open({ colorScheme: "light" });
  const frame = await frameOf(page);
  await untilRow(frame, 3);
  const untilScheme = (wanted) =>
    frame.waitForFunction((name) => getComputedStyle(document.documentElement).colorScheme === name, wanted, { polling: 20 });
  const colours = () => frame.evaluate(() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector(".row .text")).color]);
  await untilScheme("dark");
  const dark = await colours();
  await page.evaluate(() => document.querySelector("tasktail-log").removeAttribute("theme"));
  await untilScheme("light");
  const light = await colours();
  assert.notDeepEqual(light, dark);
  await page.emulateMedia({ colorScheme: "dark" });
  await untilScheme("dark");
  assert.deepEqual(await colours(), dark, "the colours follow the browser again");
  await page.evaluate(() => document.querySelector("tasktail-log").setAttribute("theme", "light"));
  await untilScheme("light");
  assert.deepEqual(await colours(), light);
  assert.equal(await frame.locator(".row[data-n]").count(), 3, "the log was not loaded again");
  await page.context().close();
  site.head = "";
});

test("only the named sites may embed, and only the log", async () => {
  await server.append("framed", someLines(3));
  const policy = async (path) => (await server.ask(path)).headers.get("content-security-policy");
  assert.match(await policy("/embed/framed"), new RegExp(`frame-ancestors ${site.url}$|frame-ancestors ${site.url};`));
  for (const path of ["/", "/tasks/framed", "/runs", "/login"]) assert.match(await policy(path), /frame-ancestors 'none'/, path);
  // The same page at an address that is not named.
  const share = shareOf(await server.share("framed"));
  site.body = element("framed", `share="${share}"`);
  const page = await browser.newPage();
  const refused = page.waitForEvent("console", (message) => message.text().includes("frame-ancestors"));
  await page.goto(site.url.replace("localhost", "127.0.0.1"));
  await refused;
  await page.context().close();
});
