// SPDX-License-Identifier: Apache-2.0
// Flamenco: renders a saved graph (`fewstroke render ... --save shot.json`) in chunks. Put this file into the folder
// `scripts` beside flamenco-manager, and name the command in flamenco-manager.yaml:
//
//     variables:
//       fewstroke:
//         values: [{platform: all, value: /opt/fewstroke/bin/fewstroke}]
//
// Frames that are whole already are left alone, so a task or a job may be run again at any time.

const JOB_TYPE = {
    label: "Fewstroke: render a graph",
    settings: [
        { key: "graph", type: "string", subtype: "file_path", required: true,
          description: "The saved graph, shot.json" },
        { key: "frames", type: "string", required: true, eval: "f'{C.scene.frame_start}-{C.scene.frame_end}'",
          description: "Frame range, such as 1001-1040 or 1,5,9-12" },
        { key: "chunk_size", type: "int32", default: 8,
          description: "Frames of a task. Neighbours share their motion, so several are cheaper than one at a time" },
    ],
};

function compileJob(job) {
    const settings = job.settings;
    // Flamenco writes chunks as the command reads them: "1-4", "9-10,20-21".
    for (const chunk of frameChunker(settings.frames, settings.chunk_size)) {
        const task = author.Task("paint-" + chunk, "misc");
        task.addCommand(author.Command("exec", {
            exe: "{fewstroke}",
            args: ["render", settings.graph, "--frames=" + chunk],
        }));
        job.addTask(task);
    }
}
