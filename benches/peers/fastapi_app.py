"""FastAPI, with the job as a `BackgroundTasks` task. A file named fastapi.py would be imported in FastAPI's place."""

import asyncio
import os

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import PlainTextResponse

JOB_SECONDS = int(os.environ["JOB_MS"]) / 1000

app = FastAPI()


async def job():
    await asyncio.sleep(JOB_SECONDS)


@app.get("/", response_class=PlainTextResponse)
async def index(background: BackgroundTasks):
    background.add_task(job)
    return "hello"
