// The packages as npm installs them, with the program under test inside.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const BIN = process.env.TASKTAIL_BIN;

test("installed from files, the package finds its program, and so does npx", { skip: !BIN }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "tasktail-npm-"));
  // Without the program of the tests, and with nothing of the user's.
  const { TASKTAIL_BIN: _, ...without } = process.env;
  const env = { ...without, HOME: folder, npm_config_offline: "true", npm_config_update_notifier: "false" };
  const inside = (program, ...args) => run(program, args, { cwd: folder, env });
  try {
    const platform = join(folder, "platform");
    await mkdir(join(platform, "bin"), { recursive: true });
    await copyFile(BIN, join(platform, "bin/tasktail"));
    const manifest = [join(ROOT, "platform-package.mjs"), `${process.platform}-${process.arch}`, "0.1.0"];
    await writeFile(join(platform, "package.json"), (await run(process.execPath, manifest)).stdout);
    await writeFile(join(folder, "package.json"), '{"private":true,"type":"module"}');
    await inside("npm", "pack", "--silent", platform, ROOT);
    const packages = (await readdir(folder)).filter((name) => name.endsWith(".tgz")).map((name) => `./${name}`);
    await inside("npm", "install", "--no-audit", "--no-fund", ...packages);
    assert.match((await inside("npx", "tasktail", "--version")).stdout, /^tasktail \d/);
    const program = `
      import { startServer } from "tasktail";
      const server = await startServer();
      await server.append("42", "Building...\\n");
      process.stdout.write(await server.log("42"));
      await server.stop();
    `;
    await writeFile(join(folder, "user.mjs"), program);
    assert.equal((await inside(process.execPath, "user.mjs")).stdout, "Building...\n");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
