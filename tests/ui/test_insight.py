"""What the helper process of the browser application answers about models whose code is foreign."""

from typing import Any

import psutil

from automl.ui import actions, insight

SMALL = "digits:test=0.5,valid=0.5"


def test_a_model_that_ended_in_its_sandbox_is_started_anew() -> None:
    actions.search("lemur", SMALL, trials=1, overrides=["epoch=1"], executor="inline")
    task = vars(actions.task_of(actions.show("1/0")))
    given = {"task": task, "file": "", "inputs": {"x": [[[[0.5] * 8] * 8]]}}

    def asked() -> dict[str, Any]:
        return insight.answer({"question": "run", "given": given})

    before = {each.pid for each in psutil.Process().children(recursive=True)}
    first = asked()["answer"]["outputs"]["logits"]
    assert len(first[0]) == 10
    for sandbox in psutil.Process().children(recursive=True):
        if sandbox.pid not in before and not sandbox.children():  # not what it was forked from
            sandbox.kill()
    assert "ask again, another one is started" in asked()["error"]
    assert asked()["answer"]["outputs"]["logits"] == first
