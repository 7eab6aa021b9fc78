import type { Server, ServerOptions } from "./index";

/** Starts a server before the tests of a file and stops it after them. Its fields are there inside of tests. */
export function useServer(options?: ServerOptions): Server;
