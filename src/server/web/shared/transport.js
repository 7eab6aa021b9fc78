// Which of several transports a page uses: the best one that gets through.

// Failures after which a transport that has worked before is replaced: a restart of the server also refuses it.
const FAILURES_MAX = 4;
// Time after which a worse transport gives way to an attempt with the best one.
const UPGRADE_MS = 60_000;

/** The remedy for a proxy that keeps responses until their end. */
export const STORING_PROXY = "A proxy stores responses until their end.\nnginx: proxy_buffering off;";

/** The transport in use. */
export class TransportChoice {
  /** `names` are ordered, the best first. Calls `onChange(name)` when another one is used. */
  constructor(names, onChange) {
    this.names = names;
    this.onChange = onChange;
    this.worked = new Set();
    this.use(0);
  }

  get current() {
    return this.names[this.index];
  }

  /** Returns the transport for the next attempt. */
  begin() {
    if (this.index > 0 && Date.now() - this.changedAt > UPGRADE_MS) {
      this.use(0);
      this.onChange(this.current);
    }
    return this.current;
  }

  /** Notes that the current transport gets through. */
  works() {
    this.failures = 0;
    this.worked.add(this.current);
  }

  /** Notes that the server answers, and the current transport does not get through. Reports whether another one is used now. */
  failed() {
    this.failures += 1;
    const enough = this.failures >= (this.worked.has(this.current) ? FAILURES_MAX : 1);
    if (!enough || this.index + 1 === this.names.length) return false;
    this.use(this.index + 1);
    this.onChange(this.current);
    return true;
  }

  use(index) {
    this.index = index;
    this.failures = 0;
    this.changedAt = Date.now();
  }
}
