//! Runs: their events in journals `run:events:{id}`, each kept once, and the state they tell.
