"""A Celery application whose tasks have live logs. Run: celery -A celery_app worker."""

import os

from celery import Celery
from celery.utils.log import get_task_logger

import tasktail.celery

folder = os.environ.get("BROKER_FOLDER", "/tmp/celery-broker")
app = Celery("celery_app", broker="filesystem://", backend=f"file://{folder}")
os.makedirs(folder, exist_ok=True)
app.conf.broker_transport_options = {
    "data_folder_in": folder,
    "data_folder_out": folder,
    "control_folder": f"{folder}-control",
}

logger = get_task_logger(__name__)
tasktail.celery.setup()


@app.task
def build(package):
    logger.info("Building package %s...", package)
    print("copied 3 files")
    logger.warning("deprecated function used")
    return package


@app.task
def fail():
    logger.info("starting")
    raise RuntimeError("the disk is full")


@app.task(bind=True, max_retries=1)
def retry_once(self):
    logger.info("attempt %d", self.request.retries)
    if self.request.retries == 0:
        raise self.retry(countdown=0)
