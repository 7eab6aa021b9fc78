import tasktail from "./index.cjs";

export const { findBinary, startServer } = tasktail;
