// Prints the package.json of a package that has the program for one platform: node platform-package.mjs linux-x64 0.1.0
const [platform, version] = process.argv.slice(2);
const [os, cpu] = platform.split("-");
const manifest = {
  name: `@tasktail/${platform}`,
  version,
  description: `The tasktail program for ${platform}`,
  license: "MIT OR Apache-2.0",
  os: [os],
  cpu: [cpu],
  ...(os === "linux" && { libc: ["glibc"] }),
  files: ["bin"],
  // For `npx tasktail`.
  bin: { tasktail: "bin/tasktail" },
};
console.log(JSON.stringify(manifest, null, 2));
