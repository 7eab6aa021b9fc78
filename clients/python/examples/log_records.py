"""Sends what a program logs to the log of a task."""

import logging

import tasktail.logging

logging.basicConfig(level=logging.INFO, handlers=[tasktail.logging.Handler("report")])
logging.info("reading %d files", 3)
try:
    {}["missing"]
except KeyError:
    logging.exception("a file is incomplete")
