"""What the service does by itself ends before its stores are closed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from serving.api.background_tasks import run_to_its_end


def test_a_cancelled_step_has_ended_before_its_stores_are_closed():
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def step() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()

    async def start_and_cancel() -> None:
        task = asyncio.create_task(run_to_its_end(step))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(start_and_cancel())
