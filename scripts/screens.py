#!/usr/bin/env python3
"""Records the output of programs that draw progress, and what a terminal shows of it.

usage: scripts/screens.py [--record] [NAME..]

data/screens/NAME.txt is what a program wrote to a terminal of 80 columns and 24 rows (for the names that end in
-pipe: to a pipe), NAME.screen what tmux shows of it, with its scrollback. tests/page/screen.test.js draws NAME.txt
on the page and compares. Without --record only the .screen files are written, which needs tmux and nothing else.
--record runs the programs; it needs their packages in PATH and NODE_PATH, and root for apt.
"""

import fcntl
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time

ROWS, COLUMNS = 24, 80
BYTES_MAX = 20_000
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "data" / "screens"

PYTHON = {
    "rich": """
import time
from rich.progress import Progress
with Progress(refresh_per_second=8) as bars:
    tasks = [bars.add_task(name, total=100) for name in ("download", "unpack", "install")]
    for step in range(25):
        for speed, task in enumerate(tasks): bars.update(task, advance=4 - speed * 0.5)
        if step == 12: bars.console.print("half of it is done")
        time.sleep(0.05)
print("finished")
""",
    "rich-live": """
import time
from rich.live import Live
from rich.table import Table
def table(done):
    made = Table("host", "state")
    for i in range(4): made.add_row(f"host-{i}", "[green]ready" if i < done else "[yellow]waiting")
    return made
with Live(table(0), refresh_per_second=20) as live:
    for done in range(5):
        time.sleep(0.1)
        live.update(table(done))
print("all hosts are ready")
""",
    "tqdm-nested": """
import time
from tqdm import tqdm
for epoch in tqdm(range(3), desc="epoch", ncols=70):
    for batch in tqdm(range(6), desc=f"batches of {epoch}", leave=False, ncols=70): time.sleep(0.12)
print("trained")
""",
    "alive-progress": """
import time
from alive_progress import alive_bar
with alive_bar(40, title="copy") as bar:
    for i in range(40):
        time.sleep(0.02)
        if i == 20: print("a line in between")
        bar()
print("copied")
""",
}
PYTHON["tqdm-nested-pipe"] = PYTHON["tqdm-nested"].replace("0.12", "0.1")

NODE = {
    "listr2": """
import { Listr } from "listr2";
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
await new Listr([
  { title: "Fetch", task: async (_, task) => { for (let i = 1; i < 6; i += 1) { task.output = `part ${i} of 5`; await wait(60); } } },
  { title: "Build", task: (_, task) => task.newListr([
    { title: "client", task: () => wait(250) },
    { title: "server", task: () => wait(400) },
  ], { concurrent: true }) },
  { title: "Publish", skip: () => "nothing changed", task: () => {} },
]).run();
console.log("done");
""",
    "cli-progress": """
import { createRequire } from "node:module";
const { MultiBar, Presets } = createRequire(process.env.NODE_PATH + "/x.js")("cli-progress");
const bars = new MultiBar({ format: "{name} [{bar}] {value}/{total}", barsize: 20, fps: 20 }, Presets.shades_classic);
const made = ["alpha", "beta", "gamma"].map((name) => bars.create(30, 0, { name }));
let step = 0;
const timer = setInterval(() => {
  made.forEach((bar, i) => bar.update(Math.min(30, step * (i + 1))));
  if ((step += 2) <= 30) return;
  clearInterval(timer);
  bars.stop();
  console.log("bars stopped");
}, 50);
""",
    "log-update": """
import logUpdate from "log-update";
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
for (let i = 0; i <= 8; i += 1) {
  logUpdate(`step ${i} of 8\\n${"🟩".repeat(i)}${"⬜".repeat(8 - i)}\\n  完了 ${Math.round(i * 12.5)}%`);
  await wait(40);
}
logUpdate.done();
console.log("updated");
""",
    "ora": """
import ora from "ora";
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const spinner = ora("resolving").start();
await wait(400);
spinner.text = "linking\\n  two lines of it";
await wait(400);
spinner.succeed("linked");
ora("checking").start().fail("one check failed");
""",
}

SHELL = {
    "npm": "mkdir p && cd p && npm init -y >/dev/null && npm install --no-audit --no-fund is-odd@3.0.1 left-pad@1.3.0",
    "pip": "python3 -m pip download --no-deps --no-cache-dir pygments",
    "cargo": "cargo new -q c && cd c && printf 'fn main() { let unused = 1; }' > src/main.rs && cargo build --color always",
    "git-clone": "git -c user.name=a -c user.email=a@b init -q r && cd r && seq 20000 | split -l 50 && git add . && "
    "git -c user.name=a -c user.email=a@b commit -qm x && cd .. && git clone --progress file://$PWD/r s",
    "wget": "head -c 40000000 /dev/zero > z; python3 -m http.server 18999 --bind 127.0.0.1 >/dev/null 2>&1 & s=$!; sleep 1; "
    "wget --limit-rate=40m -O /dev/null http://127.0.0.1:18999/z; kill $s",
    "curl": "head -c 20000000 /dev/zero > z; curl --progress-bar --limit-rate 20M -o o file://$PWD/z; "
    "curl --limit-rate 20M -o o file://$PWD/z",
    "pytest-xdist": "for i in 1 2 3 4 5 6; do printf 'import time\\ndef test_%s(): time.sleep(0.1)\\n' $i; done > test_a.py; "
    "printf 'def test_bad(): assert 1 == 2\\n' >> test_a.py; python3 -m pytest -p no:cacheprovider -p no:sugar -n 2 --color=yes -q test_a.py",
    "pytest-sugar": "for i in 1 2 3 4 5 6; do printf 'import time\\ndef test_%s(): time.sleep(0.1)\\n' $i; done > test_a.py; "
    "cp test_a.py test_b.py; python3 -m pytest -p no:cacheprovider --color=yes test_a.py test_b.py",
    "ninja": "printf 'rule r\\n command = sleep 0.1 && touch $out\\n' > build.ninja; "
    "for i in 1 2 3 4 5 6 7; do echo \"build o$i: r\" >> build.ninja; done; ninja -j2",
    "apt": "apt-get install -y --reinstall -o Dpkg::Progress-Fancy=1 -o APT::Color=0 pv",
    "pv": "head -c 3000000 /dev/zero | pv -L 4m > /dev/null; echo piped",
}


def shells():
    """Returns the command of each name."""
    made = dict(SHELL)
    for name, program in PYTHON.items():
        made[name] = f"cat > p.py <<'END'\n{program}\nEND\npython3 p.py"
    for name, program in NODE.items():
        made[name] = f"ln -s $NODE_PATH node_modules; cat > p.mjs <<'END'\n{program}\nEND\nnode p.mjs"
    return made


def environment():
    kept = {key: os.environ[key] for key in ("PATH", "NODE_PATH", "HOME") if key in os.environ}
    return {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def record(name, command):
    """Runs a command and returns what it wrote, without the names of this machine."""
    with tempfile.TemporaryDirectory(prefix="screens-") as folder:
        written = run(name, command, folder)
        written = written.replace(folder.encode(), b"/tmp/build").replace(sys.executable.encode(), b"/usr/bin/python3")
        written = re.sub(rb"N: Ignoring file [^\r\n]*", b"N: a note", written)
        return re.sub(rb"http://[^ ]+/debian", b"http://debian.example/debian", written)


def run(name, command, folder):
    """Runs a command in a folder and returns what it wrote."""
    if name.endswith("-pipe"):
        ran = subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return ran.stdout
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe("timeout", ["timeout", "60", "bash", "-c", command], environment())
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        written += part
    os.waitpid(child, 0)
    return written


def shown(path):
    """Returns what tmux shows of a file, with its scrollback."""
    socket = f"screens-{os.getpid()}-{path.stem}"
    tmux = ["tmux", "-L", socket, "-f", "/dev/null"]
    # A pipe's output has bare newlines, which the terminal's line discipline completes.
    subprocess.run([*tmux, "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), f"cat {path}; tmux -L {socket} wait-for -S drawn; sleep 60"], check=True, env=environment())
    try:
        subprocess.run([*tmux, "wait-for", "drawn"], check=True, timeout=20, env=environment())
        before = None
        while True:
            text = subprocess.run([*tmux, "capture-pane", "-p", "-J", "-S", "-"], check=True, capture_output=True, env=environment()).stdout
            if text == before:
                break
            before = text
            time.sleep(0.1)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, env=environment())
    rows = [row.rstrip() for row in text.decode().split("\n")]
    while rows and rows[-1] == "":
        rows.pop()
    return "\n".join(rows) + "\n"


def main(arguments):
    recording = "--record" in arguments
    names = [word for word in arguments if not word.startswith("-")]
    FOLDER.mkdir(parents=True, exist_ok=True)
    if recording:
        for name, command in shells().items():
            if names and name not in names:
                continue
            written = record(name, command)
            if len(written) > BYTES_MAX:
                print(f"{name}: {len(written)} bytes are too many, not stored", file=sys.stderr)
                continue
            (FOLDER / f"{name}.txt").write_bytes(written)
    for path in sorted(FOLDER.glob("*.txt")):
        if not names or path.stem in names:
            path.with_suffix(".screen").write_text(shown(path))


main(sys.argv[1:])
