// The server and the browser of a test program, and the ways in which tests open and read pages.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach } from "node:test";
import { startBrowser, startServer, until } from "./harness.js";
import { MockServer } from "./mock.js";

/** The server of this test program, once its tests run. */
export let server;
/** The browser of this test program, once its tests run. */
export let browser;

/** Starts a server and a browser before the tests, and stops both after them. */
export function setUp(start = startServer) {
  before(async () => {
    server = await start();
    browser = await startBrowser();
  });
  afterEach(() => browser.closePages());
  after(async () => {
    await browser?.stop();
    await server?.stop();
    assert.deepEqual(browser.errors, [], "no page had a script error");
    assert.deepEqual(browser.violations, [], "no page broke its policy");
  });
}

/** As `setUp`, with a mock server that refuses nothing when a test begins. */
export function setUpMock() {
  setUp(() => MockServer.start());
  beforeEach(() => {
    server.refuse = null;
    Object.assign(server.runs, { refuse: null, storing: null, opened: [], pipeline: { hops: [] }, ownPipeline: { hops: [] } });
  });
}

/** Opens a path of the server in a new browser window. */
export async function openPath(path, options) {
  const page = await browser.newPage(options);
  await page.goto(`${server.url}${path}`);
  return page;
}

export const openTask = (id, options) => openPath(`/tasks/${id}`, options);
export const openRun = (id, options) => openPath(`/runs/${id}`, options);

/** Returns the text of an element. */
export const text = (page, selector) => page.locator(selector).textContent();

/** Waits until the text of an element contains a part. */
export const untilText = (page, selector, part) =>
  until(page, ([s, p]) => document.querySelector(s)?.textContent.includes(p), [selector, part]);
