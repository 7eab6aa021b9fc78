// Addresses of this server. Below the path prefix of a proxy its front page is not `/`; this module's own address shows
// where it is.

const front = new URL("../../", import.meta.url);

/** The path of the front page, with a slash at its end. */
export const ROOT = front.protocol === "file:" ? "/" : front.pathname;

/** Returns the path in the browser of a path of the server. */
export const at = (path) => ROOT + path.slice(1);

/** Returns the path of the server of a path in the browser. */
export const localPath = (path) => (path.startsWith(ROOT) ? `/${path.slice(ROOT.length)}` : path);

/** Returns the id in the page's address, which is `/FOLDER/ID`. */
export const idOfAddress = () => decodeURIComponent(localPath(location.pathname).split("/")[2] ?? "");
